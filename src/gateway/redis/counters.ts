/**
 * What gateways count together for each tenant, in Redis. While Redis is away each gateway counts alone: it lets in what
 * fits by its own claims and its own buckets, so a tenant may come to a little more than its bounds for that time.
 */
import { randomUUID } from 'node:crypto';
import type { Application, TenantCounters, Verdict } from '../tenants/counters.ts';
import { MemoryCounters } from '../tenants/memory-counters.ts';
import { KEYS } from './keys.ts';
import { unavailable, type RedisLink } from './link.ts';
import { Script } from './script.ts';

export interface RedisCountersOptions {
  link: RedisLink;
  /** What a gateway said of its commands counts for so long. */
  saidMs?: number;
}

const SAID_MS = 5_000;
/** Buckets and claims of tenants that are not heard of any more. */
const IDLE_KEPT_MS = 24 * 3_600_000;

/**
 * Claims of a tenant: a hash of `cpus memory` by id, and a sorted set of when each is over. The bucket is the time at which
 * it is full again (see rate.ts, whose rule this is). ARGV: kept, most of each kind or '', tokens a second or '', burst,
 * number of claims, then id, cpus and memory of each.
 */
const ADMIT = new Script(`
  local time = redis.call('TIME')
  local now = time[1] * 1000 + time[2] / 1000
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
    redis.call('ZREM', KEYS[2], id)
    redis.call('HDEL', KEYS[1], id)
  end
  local sum = {0, 0, 0}
  for _, kept in ipairs(redis.call('HVALS', KEYS[1])) do
    local cpus, memory = string.match(kept, '(%S+) (%S+)')
    sum[1] = sum[1] + 1
    sum[2] = sum[2] + tonumber(cpus)
    sum[3] = sum[3] + tonumber(memory)
  end
  local count = tonumber(ARGV[7])
  local asked = {0, 0, 0}
  for i = 0, count - 1 do
    if redis.call('HEXISTS', KEYS[1], ARGV[8 + 3 * i]) == 0 then
      asked[1] = asked[1] + 1
      asked[2] = asked[2] + tonumber(ARGV[9 + 3 * i])
      asked[3] = asked[3] + tonumber(ARGV[10 + 3 * i])
    end
  end
  for kind = 1, 3 do
    local most = ARGV[1 + kind]
    if most ~= '' and sum[kind] + asked[kind] > tonumber(most) then return {'short', kind, tostring(sum[kind])} end
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

const KINDS = ['sandboxes', 'milliCpus', 'memoryMb'] as const;

export class RedisCounters implements TenantCounters {
  readonly #link: RedisLink;
  readonly #saidMs: number;
  readonly #me = randomUUID();
  /** For the time without Redis. */
  readonly #alone = new MemoryCounters();

  constructor({ link, saidMs = SAID_MS }: RedisCountersOptions) {
    this.#link = link;
    this.#saidMs = saidMs;
  }

  async admit(application: Application): Promise<Verdict> {
    const { tenant, claims, room, rate, keptMs } = application;
    const args = [
      keptMs,
      ...KINDS.map((kind) => room[kind] ?? ''),
      rate?.perSecond ?? '',
      rate?.burst ?? '',
      claims.length,
      ...claims.flatMap(({ id, milliCpus, memoryMb }) => [id, milliCpus, memoryMb]),
    ];
    let said: [string, ...(string | number)[]];
    try {
      if (!this.#link.up) throw unavailable();
      const keys = [KEYS.claims(tenant), KEYS.claimEnds(tenant), KEYS.bucket(tenant)];
      said = (await ADMIT.run(this.#link, keys, args)) as typeof said;
    } catch {
      return await this.#alone.admit(application);
    }
    const [what, first, second] = said;
    if (what === 'short') {
      return { admitted: false, short: KINDS[Number(first) - 1] ?? 'sandboxes', claimed: Number(second) };
    }
    return what === 'rate' ? { admitted: false, short: 'rate', waitMs: Number(first) } : { admitted: true };
  }

  /** What Redis is not told, it forgets when the claims are over. */
  release(tenant: string, ids: readonly string[]): void {
    this.#alone.release(tenant, ids);
    if (ids.length === 0 || !this.#link.up) return;
    RELEASE.run(this.#link, [KEYS.claims(tenant), KEYS.claimEnds(tenant)], ids).catch(() => undefined);
  }

  async exchange(running: ReadonlyMap<string, number>): Promise<ReadonlyMap<string, number>> {
    const sum = new Map<string, number>();
    if (!this.#link.up) return sum;
    const mine = JSON.stringify([...running]);
    const keys = [KEYS.commands, KEYS.commandEnds];
    const others = await EXCHANGE.run(this.#link, keys, [this.#me, this.#saidMs, mine]).catch(() => []);
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
