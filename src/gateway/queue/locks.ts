/**
 * The locks of the tickets that this gateway holds. They are short, so that a dead gateway's tickets are free within
 * seconds, and are renewed while this gateway lives. A process that was stalled for longer than a lock lasts finds out
 * here that it has expired, before it does anything else.
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
  /** Whether this gateway still holds it, as far as can be known without asking Redis. */
  holds(): boolean;
  /** Stops renewing it. */
  release(): void;
}

/** Renewals per lock duration: two may be late or lost. */
const RENEWALS = 4;
/** Fraction of a lock that is given up early, since clocks run at different rates. */
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

  /** @param since the lock began no earlier than this, by `performance.now()` */
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
    const { lockMs, ask, log } = this.#options;
    const asked = performance.now();
    const ids = held.map(({ id }) => id);
    const tokens = held.map(({ token }) => token);
    let lost: readonly string[];
    try {
      lost = await ask(() => worker.getBackend().extendLocks(ids, tokens, lockMs));
    } catch (error) {
      // They stay valid until they expire, and the next renewal is soon.
      log.warn({ err: error, locks: held.length }, 'locks of tickets could not be renewed');
      return;
    }
    for (const one of held) {
      if (!lost.includes(one.id)) one.until = this.#endFrom(asked);
      else this.#held.delete(one);
    }
  }
}
