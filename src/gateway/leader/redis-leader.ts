/**
 * Leadership is a lease in Redis. It is renewed well before it expires, and ends here slightly before it does in Redis,
 * so that a process that was stalled for longer than its lease does nothing more as leader. Each leadership has a
 * rising term number; scripts that get it refuse a deposed leader.
 */
import { background } from '../../lib/background.ts';
import type { Logger } from '../../lib/logger.ts';
import { KEYS } from '../redis/keys.ts';
import { isAway, unlessAway, type RedisLink } from '../redis/link.ts';
import { Script } from '../redis/script.ts';
import type { Leader } from './leader.ts';

export interface RedisLeaderOptions {
  link: RedisLink;
  log: Logger;
  leaseMs?: number;
}

/** The leader's role. */
export const GATEWAYS = 'gateways';
const LEASE_MS = 10_000;
/** Consecutive runs without an answer from Redis before it is logged. */
const TOLERATED = 5;

/** Answers our term; 0: another gateway leads. */
const TAKE = new Script(`
  local holder = redis.call('GET', KEYS[1])
  if holder == ARGV[1] then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return tonumber(redis.call('GET', KEYS[2]))
  end
  if holder then return 0 end
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return redis.call('INCR', KEYS[2])`);

const LEAVE = new Script(`
  if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
  return 0`);

export class RedisLeader implements Leader {
  readonly #link: RedisLink;
  readonly #log: Logger;
  readonly #leaseMs: number;
  readonly #keys: readonly [lease: string, term: string];
  readonly #me = crypto.randomUUID();
  readonly #timers: NodeJS.Timeout[] = [];
  #term = 0;
  #until = -Infinity;
  #asking: Promise<void> | null = null;
  #stopped = false;

  constructor({ link, log, leaseMs = LEASE_MS }: RedisLeaderOptions) {
    this.#link = link;
    this.#log = log;
    this.#leaseMs = leaseMs;
    this.#keys = [KEYS.lease(GATEWAYS), KEYS.term(GATEWAYS)];
    this.#timers.push(setInterval(() => this.#ask(), leaseMs / 4).unref());
    this.#timers.push(setTimeout(() => this.#ask(), 0).unref());
  }

  get leading(): boolean {
    return performance.now() < this.#until;
  }

  every(ms: number, what: string, work: (term: number) => Promise<void>): void {
    let running = false;
    let unanswered = 0;
    const run = async (): Promise<void> => {
      try {
        await work(this.#term);
        unanswered = 0;
      } catch (error) {
        if (!isAway(error)) throw error;
        unanswered += 1;
        // The absence of Redis has been logged already; this is logged only if it answers everything else.
        if (unanswered === TOLERATED) this.#log.warn({ what }, 'a task of the leader keeps failing in redis');
      } finally {
        running = false;
      }
    };
    const timer = setInterval(() => {
      if (running || !this.leading) return;
      running = true;
      background(run(), what, this.#log);
    }, ms);
    this.#timers.push(timer.unref());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers) clearInterval(timer);
    this.#until = -Infinity;
    await this.#asking;
    if (this.#link.up) await unlessAway(LEAVE.run(this.#link, this.#keys, [this.#me]), undefined, this.#log);
  }

  #ask(): void {
    if (this.#asking !== null || this.#stopped || !this.#link.up) return;
    this.#asking = this.#take().finally(() => (this.#asking = null));
    background(this.#asking, 'take the lead', this.#log);
  }

  async #take(): Promise<void> {
    const asked = performance.now();
    const term = Number(await unlessAway(TAKE.run(this.#link, this.#keys, [this.#me, this.#leaseMs]), -1, this.#log));
    // Without an answer the current lease stays valid until its end.
    if (term < 0 || this.#stopped) return;
    if (term > 0 && term !== this.#term) this.#log.info({ term }, 'this gateway is now the leader');
    this.#term = term;
    this.#until = term === 0 ? -Infinity : asked + this.#leaseMs * 0.9;
  }
}

/** Prefix of scripts that only the leader of the given term may run. Last key: the term's; first argument: the term. */
export const FENCE = `
  if redis.call('GET', KEYS[#KEYS]) ~= ARGV[1] then return 'fenced' end`;
