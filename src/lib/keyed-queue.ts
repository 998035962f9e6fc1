/** One task at a time per key: the serialisation point of everything that changes one sandbox. */
export class KeyedQueue {
  readonly #tails = new Map<string, Promise<unknown>>();

  /** Runs the task after all earlier ones of this key. */
  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const mine = before.then(task, task);
    this.#tails.set(key, mine);
    try {
      return await mine;
    } finally {
      if (this.#tails.get(key) === mine) this.#tails.delete(key);
    }
  }

  /** Runs the task if nothing of this key is under way; otherwise skips it. For background work. */
  async tryRun<T>(key: string, task: () => Promise<T>): Promise<T | undefined> {
    return this.#tails.has(key) ? undefined : await this.run(key, task);
  }

  get size(): number {
    return this.#tails.size;
  }
}
