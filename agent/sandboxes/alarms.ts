/** One alarm per name, arbitrarily far in the future, on the monotonic clock. */
import { MAX_TIMER_MS } from '../../src/lib/deadline.ts';
import type { Logger } from '../../src/lib/logger.ts';

export class Alarms {
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Rings after `afterMs`; replaces the previous alarm of this name. Errors of `ring` are logged. */
  set(name: string, afterMs: number, ring: () => void): void {
    clearTimeout(this.#timers.get(name));
    const left = Math.max(0, afterMs - MAX_TIMER_MS);
    const timer = setTimeout(
      () => {
        this.#timers.delete(name);
        if (left > 0) this.set(name, left, ring);
        else this.#ring(name, ring);
      },
      Math.min(Math.max(0, afterMs), MAX_TIMER_MS),
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

  /** An uncaught error in a timer would end the process. */
  #ring(name: string, ring: () => void): void {
    try {
      ring();
    } catch (error) {
      this.#log.error({ err: error, alarm: name }, 'an alarm failed');
    }
  }
}
