/** What is being done to containers, one thing at a time to each, for whoever must not come in between. */
export class InFlight {
  readonly #settled = new Map<string, Promise<void>>();

  /** Resolves or rejects as `work` does. */
  async run<T>(id: string, work: Promise<T>): Promise<T> {
    const settled = work.then(
      () => undefined,
      () => undefined,
    );
    this.#settled.set(id, settled);
    try {
      return await work;
    } finally {
      this.#settled.delete(id);
    }
  }

  /** Resolves once nothing is being done to this one, however it ended. */
  async over(id: string): Promise<void> {
    await this.#settled.get(id);
  }

  /** Resolves once all that is being done now has ended. */
  async allOver(): Promise<void> {
    await Promise.all(this.#settled.values());
  }
}
