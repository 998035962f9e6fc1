/** A single gateway always leads. */
import { background } from '../../lib/background.ts';
import type { Logger } from '../../lib/logger.ts';
import type { Leader } from './leader.ts';

const FIRST_TERM = 1;

export class MemoryLeader implements Leader {
  readonly leading = true;
  readonly #log: Logger;
  readonly #timers: NodeJS.Timeout[] = [];

  constructor(log: Logger) {
    this.#log = log;
  }

  every(ms: number, what: string, work: (term: number) => Promise<void>): void {
    let running = false;
    const timer = setInterval(() => {
      if (running) return;
      running = true;
      background(
        work(FIRST_TERM).finally(() => (running = false)),
        what,
        this.#log,
      );
    }, ms);
    this.#timers.push(timer.unref());
  }

  stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    return Promise.resolve();
  }
}
