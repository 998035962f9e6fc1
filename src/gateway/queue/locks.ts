/**
 * The locks of tickets that this gateway has. They are short, so that what a gateway had that died is free within
 * seconds, and they are renewed for as long as this one lives. A process that stands still for longer than a lock finds
 * here that its time is over, before it does anything more.
 */
import type { Worker } from 'bullmq';
import { background } from '../../lib/background.ts';
import type { Logger } from '../../lib/logger.ts';

export interface LocksOptions {
  lockMs: number;
  log: Logger;
  /** Asks Redis, with a deadline. @throws ServiceError `node_unavailable` */
  ask: <T>(work: () => Promise<T>) => Promise<T>;
}

interface Held {
  readonly worker: Worker;
  readonly id: string;
  readonly token: string;
  /** By the monotonic clock of this process. */
  until: number;
}

export interface Lock {
  /** Whether it is this gateway's still, as far as can be known without asking. */
  holds(): boolean;
  /** It is renewed no more. */
  release(): void;
}

/** Renewals while one lock lasts: two may be late or lost. */
const RENEWALS = 4;
/** Of a lock; clocks do not run alike. */
const MARGIN = 0.1;

export class Locks {
  readonly #options: LocksOptions;
  readonly #held = new Set<Held>();
  readonly #timer: NodeJS.Timeout;
  #renewing = false;

  constructor(options: LocksOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#renew(), options.lockMs / RENEWALS).unref();
  }

  /** @param since the lock began no earlier, by `performance.now()` */
  keep(worker: Worker, id: string, token: string, since: number): Lock {
    const held = { worker, id, token, until: this.#endFrom(since) };
    this.#held.add(held);
    return {
      holds: () => performance.now() < held.until,
      release: () => void this.#held.delete(held),
    };
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#held.clear();
  }

  #endFrom(since: number): number {
    return since + this.#options.lockMs * (1 - MARGIN);
  }

  #renew(): void {
    if (this.#renewing || this.#held.size === 0) return;
    this.#renewing = true;
    const renewals = [...Map.groupBy(this.#held, ({ worker }) => worker)].map(([worker, held]) =>
      this.#renewOf(worker, held),
    );
    const renewed = Promise.all(renewals).finally(() => (this.#renewing = false));
    background(renewed, 'renew locks of tickets', this.#options.log);
  }

  async #renewOf(worker: Worker, held: readonly Held[]): Promise<void> {
    const { lockMs, ask } = this.#options;
    const asked = performance.now();
    const ids = held.map(({ id }) => id);
    const tokens = held.map(({ token }) => token);
    let lost: readonly string[];
    try {
      lost = await ask(() => worker.getBackend().extendLocks(ids, tokens, lockMs));
    } catch {
      // What was granted before goes on to its end.
      return;
    }
    for (const one of held) {
      if (!lost.includes(one.id)) one.until = this.#endFrom(asked);
      else this.#held.delete(one);
    }
  }
}
