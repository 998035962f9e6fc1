/** One alarm per name, at a wall-clock time as far away as one likes. */

/** What a Node timer holds. */
const MAX_DELAY_MS = 2 ** 31 - 1;

export class Alarms {
  readonly #timers = new Map<string, NodeJS.Timeout>();

  /** Replaces an earlier alarm of this name. `ring` must not throw. */
  set(name: string, atMs: number, ring: () => void): void {
    clearTimeout(this.#timers.get(name));
    const delay = Math.max(0, atMs - Date.now());
    const timer = setTimeout(
      () => {
        this.#timers.delete(name);
        if (Date.now() < atMs) this.set(name, atMs, ring);
        else ring();
      },
      Math.min(delay, MAX_DELAY_MS),
    );
    timer.unref();
    this.#timers.set(name, timer);
  }

  cancel(name: string): void {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }

  close(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }
}
