/**
 * Tells whether a sandbox's init process was OOM-killed, or merely exited in a sandbox where some program had been
 * killed long before. The kernel only counts kills, so the counts are read periodically.
 */
import type { Logger } from '../../../src/lib/logger.ts';
import { retryTransient } from '../../sandboxes/transient-errors.ts';
import { Rounds } from './rounds.ts';

const LOOK_EVERY_MS = 200;
/** How long a killed process may take to exit, and its exit to be noticed. */
const NEAR_MS = 10_000;
/** Each count is read within this time, so that growth first noticed at an exit is near it. */
const ROUND_MS = NEAR_MS / 2;
/** How many are read at each look, if that is enough to keep up. */
const EACH_LOOK = 4;

interface Count {
  /** Undefined until they have been read. */
  kills: number | undefined;
  /** When it was seen to have grown. */
  grewAtMs: number;
}

export class OomWatch {
  readonly #read: (id: string) => Promise<number>;
  readonly #log: Logger;
  readonly #counts = new Map<string, Count>();
  #timer: NodeJS.Timeout | undefined;
  readonly #rounds = new Rounds(() => this.#counts.keys());

  /** `read` returns a sandbox's number of kills so far, or throws if it cannot be read now. */
  constructor(read: (id: string) => Promise<number>, log: Logger) {
    this.#read = read;
    this.#log = log;
  }

  /** `kills`: those known to be past. If absent, the first count taken, now, is past. */
  watch(id: string, kills?: number): void {
    this.#counts.set(id, { kills, grewAtMs: -Infinity });
    if (kills === undefined) this.#refresh(id);
    this.#timer ??= setInterval(() => this.#look(), LOOK_EVERY_MS).unref();
  }

  forget(id: string): void {
    this.#counts.delete(id);
    if (this.#counts.size === 0) this.close();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** The number of kills so far. Retries for a moment if it cannot be read. @throws if that does not help. */
  async count(id: string): Promise<number> {
    try {
      return await retryTransient(() => this.#count(id));
    } catch (error) {
      this.#log.error({ err: error, container: id }, 'the count of OOM kills cannot be read');
      throw error;
    }
  }

  async #count(id: string): Promise<number> {
    const kills = await this.#read(id);
    const known = this.#counts.get(id);
    if (known !== undefined && kills > (known.kills ?? -1)) {
      if (known.kills !== undefined) known.grewAtMs = performance.now();
      known.kills = kills;
    }
    return kills;
  }

  /**
   * For a container whose init process is gone: whether there was a kill near its exit; null if unknown. Never rejects.
   */
  async killedNearEnd(id: string): Promise<boolean | null> {
    const kills = await this.count(id).catch(() => null);
    const known = this.#counts.get(id);
    if (known !== undefined && performance.now() - known.grewAtMs < NEAR_MS) return true;
    if (kills === null) return null;
    return known === undefined && kills > 0;
  }

  /** If it cannot be read now, its turn comes again. */
  #refresh(id: string): void {
    this.#count(id).catch((error: unknown) => {
      this.#log.debug({ err: error, container: id }, 'the count of OOM kills cannot be read now');
    });
  }

  #look(): void {
    const count = Math.max(EACH_LOOK, Math.ceil((this.#counts.size * LOOK_EVERY_MS) / ROUND_MS));
    for (const id of this.#rounds.next(count)) this.#refresh(id);
  }
}
