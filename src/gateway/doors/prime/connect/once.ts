/** Calls that clients repeat under one key are done once; a repetition gets the answer of the first. */

/** Clients repeat within a minute and a half; this many calls come in that time only from one that floods. */
const MAX_KEYS = 4_096;

export class Once {
  readonly #calls = new Map<string, Promise<void>>();

  async run(key: string | undefined, work: () => Promise<void>): Promise<void> {
    if (key === undefined) return work();
    const known = this.#calls.get(key);
    if (known !== undefined) return known;
    const call = work();
    this.#calls.set(key, call);
    if (this.#calls.size > MAX_KEYS) this.#forgetOldest();
    try {
      await call;
    } catch (error) {
      // Nothing was done: the key is free.
      this.#calls.delete(key);
      throw error;
    }
  }

  #forgetOldest(): void {
    for (const key of this.#calls.keys()) {
      this.#calls.delete(key);
      return;
    }
  }
}
