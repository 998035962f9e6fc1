/** Runs calls that clients may repeat under one key only once; a repetition gets the first result. */

/** Clients repeat a call within a minute and a half; only a flooding client makes this many calls in that time. */
const MAX_KEYS = 4_096;

export class CallDeduplicator {
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
      // Nothing was done: the key may be used again.
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
