/**
 * Tells whether a sandbox's first process was killed for want of memory, or merely ended in a sandbox in which some
 * program had been, long before. The kernel only counts, so the counts are read from time to time.
 */
import type { Logger } from '../../../src/lib/logger.ts';
import { insist } from '../../sandboxes/passing-failures.ts';
import { Rounds } from './rounds.ts';

const LOOK_EVERY_MS = 200;
/** How long a process that was killed may take to be gone, and its end to be seen. */
const NEAR_MS = 10_000;
/** In this time each count is read: one seen to have grown only at an end is then near it. */
const ROUND_MS = NEAR_MS / 2;
/** How many are read at each look, if these are enough for that. */
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

  /** `read` returns the number of kills in a sandbox so far, or throws if it cannot be known now. */
  constructor(read: (id: string) => Promise<number>, log: Logger) {
    this.#read = read;
    this.#log = log;
  }

  /** `kills`: those that are known to be of the past. Without it, these are the kills that are counted first: now. */
  watch(id: string, kills?: number): void {
    this.#counts.set(id, { kills, grewAtMs: -Infinity });
    if (kills === undefined) this.#glance(id);
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

  /** The number of kills so far. What cannot be read is read again for a moment. @throws if that does not help. */
  async count(id: string): Promise<number> {
    try {
      return await insist(() => this.#count(id));
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

  /** For one whose first process is gone: whether there was a kill near that; null if it cannot be known. Never rejects. */
  async ofEnd(id: string): Promise<boolean | null> {
    const kills = await this.count(id).catch(() => null);
    const known = this.#counts.get(id);
    if (known !== undefined && performance.now() - known.grewAtMs < NEAR_MS) return true;
    if (kills === null) return null;
    return known === undefined && kills > 0;
  }

  /** One that cannot be read now has its turn again. */
  #glance(id: string): void {
    this.#count(id).catch((error: unknown) => {
      this.#log.debug({ err: error, container: id }, 'the count of OOM kills cannot be read now');
    });
  }

  #look(): void {
    const count = Math.max(EACH_LOOK, Math.ceil((this.#counts.size * LOOK_EVERY_MS) / ROUND_MS));
    for (const id of this.#rounds.next(count)) this.#glance(id);
  }
}
