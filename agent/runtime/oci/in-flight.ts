/** Tracks the operation in flight on each container, for callers that must wait until it is over. */
export class InFlight {
  readonly #settled = new Map<string, Promise<void>>();

  /** Tracks `work`, and settles as it does. */
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

  /** Resolves once the container's operation is over, whatever its outcome. */
  async over(id: string): Promise<void> {
    await this.#settled.get(id);
  }

  /** Resolves once all current operations are over. */
  async allOver(): Promise<void> {
    await Promise.all(this.#settled.values());
  }
}
