/**
 * The lead is a lease in Redis. It is renewed well before its end, and counts as over here a moment before it is over
 * there: a process that stands still longer than its lease does nothing more as leader. Each lead has a number, higher
 * than all before; a script that is given it refuses what a leader of yesterday sends.
 */
import { background } from '../../lib/background.ts';
import type { Logger } from '../../lib/logger.ts';
import { KEYS } from '../redis/keys.ts';
import type { RedisLink } from '../redis/link.ts';
import { Script } from '../redis/script.ts';
import type { Leader } from './leader.ts';

export interface RedisLeaderOptions {
  link: RedisLink;
  log: Logger;
  leaseMs?: number;
}

/** What it is the lead of. */
export const GATEWAYS = 'gateways';
const LEASE_MS = 10_000;

/** 0: another leads. Otherwise the number of the lead. */
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
    const timer = setInterval(() => {
      if (running || !this.leading) return;
      running = true;
      background(
        work(this.#term).finally(() => (running = false)),
        what,
        this.#log,
      );
    }, ms);
    this.#timers.push(timer.unref());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers) clearInterval(timer);
    this.#until = -Infinity;
    await this.#asking;
    if (this.#link.up) await LEAVE.run(this.#link, this.#keys, [this.#me]).catch(() => undefined);
  }

  #ask(): void {
    if (this.#asking !== null || this.#stopped || !this.#link.up) return;
    this.#asking = this.#take().finally(() => (this.#asking = null));
    background(this.#asking, 'take the lead', this.#log);
  }

  async #take(): Promise<void> {
    const asked = performance.now();
    const term = Number(await TAKE.run(this.#link, this.#keys, [this.#me, this.#leaseMs]).catch(() => -1));
    // Without an answer what was granted before goes on to its end.
    if (term < 0 || this.#stopped) return;
    if (term > 0 && term !== this.#term) this.#log.info({ term }, 'this gateway leads');
    this.#term = term;
    this.#until = term === 0 ? -Infinity : asked + this.#leaseMs * 0.9;
  }
}

/** For scripts: begins one that only the leader of this term may run. The term's key comes last, the term first. */
export const FENCE = `
  if redis.call('GET', KEYS[#KEYS]) ~= ARGV[1] then return 'fenced' end`;
