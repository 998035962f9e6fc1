/**
 * Writes that Redis must still get: tried at once, then retried until they succeed or the gateway stops. One per key.
 */
import { background } from '../../lib/background.ts';
import type { Logger } from '../../lib/logger.ts';
import { isAway } from './link.ts';

interface Pending {
  work: () => Promise<void>;
  done: PromiseWithResolvers<void>;
  trying: boolean;
  /** Whether it was logged that it fails although Redis answers. */
  logged: boolean;
}

const RETRY_MS = 1_000;
/** Concurrent attempts: more would only wait for each other. */
const MAX_TRYING = 256;
/** Writes beyond this are dropped: a store that has been away for that long has lost more. */
const MAX_PENDING = 100_000;

export class Outbox {
  readonly #log: Logger;
  readonly #max: number;
  readonly #pending = new Map<string, Pending>();
  readonly #timer: NodeJS.Timeout;
  #trying = 0;
  /** Since the last write that was not dropped. */
  #dropped = 0;
  #stopped = false;

  constructor(log: Logger, max = MAX_PENDING) {
    this.#log = log;
    this.#max = max;
    this.#timer = setInterval(() => this.flush(), RETRY_MS).unref();
  }

  get size(): number {
    return this.#pending.size;
  }

  /**
   * Resolves when the write has succeeded, or when the outbox stops; never rejects. The work may run more than once.
   */
  send(key: string, work: () => Promise<void>): Promise<void> {
    const known = this.#pending.get(key);
    if (known !== undefined) {
      known.work = work;
      return known.done.promise;
    }
    if (this.#stopped) return Promise.resolve();
    if (this.#pending.size >= this.#max) return this.#drop();
    if (this.#dropped > 0)
      this.#log.warn({ dropped: this.#dropped }, 'changes were not sent to redis: there is no room to keep them');
    this.#dropped = 0;
    const pending: Pending = { work, done: Promise.withResolvers(), trying: false, logged: false };
    this.#pending.set(key, pending);
    if (this.#trying < MAX_TRYING) this.#try(key, pending);
    return pending.done.promise;
  }

  /** Tries everything that is pending now. */
  flush(): void {
    for (const [key, pending] of this.#pending) {
      if (this.#trying >= MAX_TRYING) return;
      this.#try(key, pending);
    }
  }

  /** Resolves when everything that is pending now is done. */
  async settled(): Promise<void> {
    await Promise.all([...this.#pending.values()].map(({ done }) => done.promise));
  }

  /** Drops whatever is still pending. */
  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
    for (const { done } of this.#pending.values()) done.resolve();
    this.#pending.clear();
  }

  #drop(): Promise<void> {
    if (this.#dropped === 0)
      this.#log.error({ pending: this.#pending.size }, 'there is no room to keep changes that redis must get');
    this.#dropped += 1;
    return Promise.resolve();
  }

  #try(key: string, pending: Pending): void {
    if (pending.trying) return;
    pending.trying = true;
    this.#trying += 1;
    const { work } = pending;
    const tried = work().then(
      () => {
        pending.trying = false;
        this.#trying -= 1;
        // A newer write for this key arrived meanwhile.
        if (pending.work !== work) return this.#try(key, pending);
        this.#pending.delete(key);
        pending.done.resolve();
        if (this.#pending.size > this.#trying) this.flush();
      },
      (error: unknown) => {
        pending.trying = false;
        this.#trying -= 1;
        if (pending.logged || isAway(error)) return;
        pending.logged = true;
        this.#log.error({ err: error }, 'a change could not be sent to redis: it is retried');
      },
    );
    background(tried, 'tell redis', this.#log);
  }
}
