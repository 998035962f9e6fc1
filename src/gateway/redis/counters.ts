/**
 * What gateways count together for each tenant, in Redis. While Redis is away each gateway counts alone: it lets in what
 * fits by its own claims and its own buckets, so a tenant may come to a little more than its bounds for that time.
 */
import { randomUUID } from 'node:crypto';
import {
  USAGE_KINDS,
  type Application,
  type Seen,
  type TenantCounters,
  type Usage,
  type Verdict,
} from '../tenants/counters.ts';
import { MemoryCounters } from '../tenants/memory-counters.ts';
import { KEYS } from './keys.ts';
import { unavailable, type RedisLink } from './link.ts';
import { Script } from './script.ts';

export interface RedisCountersOptions {
  link: RedisLink;
  /** What a gateway said of its commands counts for so long. */
  saidMs?: number;
  /** What a node has counts as a claim for so long still: by then all gateways have heard of it from the node. */
  heardMs?: number;
  /** A claim of which nobody has heard after so long is that of a gateway that died. */
  unheardMs?: number;
}

const SAID_MS = 5_000;
const HEARD_MS = 3_000;
/** Longer than it takes to send a sandbox to a node, or to write down that it waits. */
const UNHEARD_MS = 60_000;
/** Old claims that are looked at when there is no room. */
const MAX_OLD = 1_000;
/** Buckets and claims of tenants that are not heard of any more. */
const IDLE_KEPT_MS = 24 * 3_600_000;

/**
 * Claims of a tenant: a hash of `cpus memory` by id, with a third word where a node has it, and a sorted set of when each
 * is over. The bucket is the time at which it is full again (see rate.ts, whose rule this is). ARGV: kept, most of each
 * kind or '', tokens a second or '', burst, number of claims, then id, cpus and memory of each, then: after how long a
 * claim is old, '' where the caller has been told; and ids that the caller counts by itself.
 *
 * Where there is too little room, the answer names the claims that a node has and the oldest of the others.
 */
const ADMIT = new Script(`
  local time = redis.call('TIME')
  local now = time[1] * 1000 + time[2] / 1000
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
    redis.call('ZREM', KEYS[2], id)
    redis.call('HDEL', KEYS[1], id)
  end
  local count = tonumber(ARGV[7])
  local rest = 8 + 3 * count
  local counted = {}
  for i = rest + 1, #ARGV do counted[ARGV[i]] = true end
  local sum = {0, 0, 0}
  local placed = {}
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    if not counted[all[i]] then
      local cpus, memory, mark = string.match(all[i + 1], '(%S+) (%S+)(.*)')
      sum[1] = sum[1] + 1
      sum[2] = sum[2] + tonumber(cpus)
      sum[3] = sum[3] + tonumber(memory)
      if mark ~= '' then placed[#placed + 1] = all[i] end
    end
  end
  local asked = {0, 0, 0}
  for i = 0, count - 1 do
    local id = ARGV[8 + 3 * i]
    if redis.call('HEXISTS', KEYS[1], id) == 0 then
      asked[1] = asked[1] + 1
      asked[2] = asked[2] + tonumber(ARGV[9 + 3 * i])
      asked[3] = asked[3] + tonumber(ARGV[10 + 3 * i])
    end
  end
  for kind = 1, 3 do
    local most = ARGV[1 + kind]
    if most ~= '' and sum[kind] + asked[kind] > tonumber(most) then
      local old = {}
      if ARGV[rest] ~= '' then
        local before = now + ARGV[1] - ARGV[rest]
        old = redis.call('ZRANGEBYSCORE', KEYS[2], now, before, 'LIMIT', 0, ${MAX_OLD})
      end
      return {'short', kind, tostring(sum[kind]), placed, old}
    end
  end
  if ARGV[5] ~= '' then
    local token = 1000 / tonumber(ARGV[5])
    local burst = tonumber(ARGV[6])
    local from = math.max(tonumber(redis.call('GET', KEYS[3]) or '0'), now)
    local wait = from + math.min(count, burst) * token - burst * token - now
    if wait > 1e-3 then return {'rate', tostring(math.ceil(wait))} end
    local full = from + count * token
    redis.call('SET', KEYS[3], string.format('%.4f', full), 'PX', math.ceil(full - now) + 1000)
  end
  local over = now + tonumber(ARGV[1])
  for i = 0, count - 1 do
    local id = ARGV[8 + 3 * i]
    redis.call('HSET', KEYS[1], id, ARGV[9 + 3 * i] .. ' ' .. ARGV[10 + 3 * i])
    redis.call('ZADD', KEYS[2], over, id)
  end
  redis.call('PEXPIRE', KEYS[1], ${IDLE_KEPT_MS})
  redis.call('PEXPIRE', KEYS[2], ${IDLE_KEPT_MS})
  return {'admitted'}`);

/** ARGV: how long they count still, ids. */
const PLACED = new Script(`
  local time = redis.call('TIME')
  local over = time[1] * 1000 + time[2] / 1000 + ARGV[1]
  for i = 2, #ARGV do
    local kept = redis.call('HGET', KEYS[1], ARGV[i])
    if kept and not string.match(kept, ' placed$') then
      redis.call('ZADD', KEYS[2], over, ARGV[i])
      redis.call('HSET', KEYS[1], ARGV[i], kept .. ' placed')
    end
  end`);

const RELEASE = new Script(`
  redis.call('HDEL', KEYS[1], unpack(ARGV))
  return redis.call('ZREM', KEYS[2], unpack(ARGV))`);

/** Each gateway's counts, and until when they count. Answers those of all others. ARGV: me, how long, JSON. */
const EXCHANGE = new Script(`
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
  redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
  for _, gateway in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
    redis.call('ZREM', KEYS[2], gateway)
    redis.call('HDEL', KEYS[1], gateway)
  end
  local others = {}
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    if all[i] ~= ARGV[1] then others[#others + 1] = all[i + 1] end
  end
  return others`);

/** What `ADMIT` answers. */
type Said =
  ['admitted'] | ['rate', waitMs: string] | ['short', kind: number, claimed: string, placed: string[], old: string[]];
type Short = Extract<Verdict, { short: keyof Usage }> & { placed: string[]; old: string[] };
type ToldVerdict = Exclude<Verdict, { short: keyof Usage }> | Short;

const plain = (verdict: ToldVerdict): Verdict =>
  'placed' in verdict ? { admitted: false, short: verdict.short, claimed: verdict.claimed } : verdict;

const claimsOf = (tenant: string): string[] => [KEYS.claims(tenant), KEYS.claimEnds(tenant)];

export class RedisCounters implements TenantCounters {
  readonly #link: RedisLink;
  readonly #times: Required<Omit<RedisCountersOptions, 'link'>>;
  readonly #me = randomUUID();
  /** For the time without Redis. */
  readonly #alone = new MemoryCounters();

  constructor({ link, ...times }: RedisCountersOptions) {
    this.#link = link;
    this.#times = { saidMs: SAID_MS, heardMs: HEARD_MS, unheardMs: UNHEARD_MS, ...times };
  }

  async admit(application: Application): Promise<Verdict> {
    try {
      if (!this.#link.up) throw unavailable();
      const verdict = await this.#ask(application, String(this.#times.unheardMs), []);
      if (verdict.admitted || verdict.short === 'rate') return verdict;
      const counted = this.#settle(application, verdict);
      return plain(counted.length === 0 ? verdict : await this.#ask(application, '', counted));
    } catch {
      return await this.#alone.admit(application);
    }
  }

  placed(tenant: string, ids: readonly string[]): void {
    this.#alone.release(tenant, ids);
    if (ids.length === 0 || !this.#link.up) return;
    const marked = PLACED.run(this.#link, claimsOf(tenant), [this.#times.heardMs, ...ids]);
    // A server without memory left takes no mark.
    marked.catch(() => this.release(tenant, ids));
  }

  /** What Redis is not told, it forgets when the claims are over. */
  release(tenant: string, ids: readonly string[]): void {
    this.#alone.release(tenant, ids);
    if (ids.length === 0 || !this.#link.up) return;
    RELEASE.run(this.#link, claimsOf(tenant), ids).catch(() => undefined);
  }

  /**
   * Which claims the gateway counts by itself or knows to be over. Old ones among them are those of a gateway that died,
   * and are seen to for all.
   */
  #settle({ tenant, seen }: Application, { placed, old }: Short): string[] {
    const marked = new Set(placed);
    const unheard = Map.groupBy(
      old.filter((id) => !marked.has(id)),
      seen,
    );
    const of = (what: Seen): string[] => unheard.get(what) ?? [];
    const over = [...of('ended'), ...of('unknown')];
    this.release(tenant, over);
    this.placed(tenant, of('placed'));
    return [...placed.filter((id) => ['placed', 'ended'].includes(seen(id))), ...over, ...of('placed')];
  }

  /** @throws ServiceError `node_unavailable` */
  async #ask(
    { tenant, claims, room, rate, keptMs }: Application,
    oldMs: string,
    counted: readonly string[],
  ): Promise<ToldVerdict> {
    const args = [
      keptMs,
      ...USAGE_KINDS.map((kind) => room[kind] ?? ''),
      rate?.perSecond ?? '',
      rate?.burst ?? '',
      claims.length,
      ...claims.flatMap(({ id, milliCpus, memoryMb }) => [id, milliCpus, memoryMb]),
      oldMs,
      ...counted,
    ];
    const keys = [...claimsOf(tenant), KEYS.bucket(tenant)];
    const said = (await ADMIT.run(this.#link, keys, args)) as Said;
    switch (said[0]) {
      case 'short':
        return {
          admitted: false,
          short: USAGE_KINDS[said[1] - 1] ?? 'sandboxes',
          claimed: Number(said[2]),
          placed: said[3],
          old: said[4],
        };
      case 'rate':
        return { admitted: false, short: 'rate', waitMs: Number(said[1]) };
      case 'admitted':
        return { admitted: true };
    }
  }

  async exchange(running: ReadonlyMap<string, number>): Promise<ReadonlyMap<string, number>> {
    const sum = new Map<string, number>();
    if (!this.#link.up) return sum;
    const mine = JSON.stringify([...running]);
    const keys = [KEYS.commands, KEYS.commandEnds];
    const others = await EXCHANGE.run(this.#link, keys, [this.#me, this.#times.saidMs, mine]).catch(() => []);
    for (const text of others as string[]) {
      for (const [tenant, count] of JSON.parse(text) as [string, number][]) {
        sum.set(tenant, (sum.get(tenant) ?? 0) + count);
      }
    }
    return sum;
  }

  async stop(): Promise<void> {
    await this.#alone.stop();
    if (!this.#link.up) return;
    await this.#link.run((client) => client.hdel(KEYS.commands, this.#me)).catch(() => undefined);
  }
}
