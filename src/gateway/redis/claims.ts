/**
 * Tenants' claims as Redis keeps them. A hash holds `cpus memory` by id, with a third word once a node has it; a sorted
 * set holds when each expires. Their sums are kept alongside, so that a create costs the same however many claims there
 * are.
 */
import { MAX_CREATE_COUNT } from '../../protocol/limits.ts';
import { USAGE_KINDS, type AdmissionRequest, type Claim, type Usage, type Verdict } from '../tenants/counters.ts';
import { KEYS } from './keys.ts';
import type { RedisLink } from './link.ts';
import { Script } from './script.ts';

/** How long buckets and claims of inactive tenants are kept. */
const IDLE_KEPT_MS = 24 * 3_600_000;
/** Old claims named in one answer. */
export const OLD_PAGE = 100;
/** How often the sums are recomputed: gateways of other versions may have changed claims without updating them. */
const SUMS_KEPT_MS = 60_000;

const NOW = `
  local time = redis.call('TIME')
  local now = time[1] * 1000 + time[2] / 1000`;

/**
 * The sums: a hash of the number of claims and their totals. Recomputed from all claims when missing, or when their
 * count differs from the number of claims.
 */
const SUMS = `
  local claims, ends, sums = KEYS[1], KEYS[2], KEYS[3]

  local function size(text)
    local cpus, memory, mark = string.match(text, '(%S+) (%S+)(.*)')
    return tonumber(cpus) or 0, tonumber(memory) or 0, mark ~= nil and mark ~= ''
  end

  local function change(count, cpus, memory)
    if redis.call('EXISTS', sums) == 0 then return end
    redis.call('HINCRBY', sums, 'count', count)
    redis.call('HINCRBY', sums, 'cpus', cpus)
    redis.call('HINCRBY', sums, 'memory', memory)
  end

  -- Removed before anything else is written: a server without memory takes that, and then the rest of the script.
  local function drop(id)
    local text = redis.call('HGET', claims, id)
    redis.call('ZREM', ends, id)
    if not text then return end
    redis.call('HDEL', claims, id)
    local cpus, memory = size(text)
    change(-1, -cpus, -memory)
  end

  local function sum()
    local count = redis.call('HLEN', claims)
    local kept = redis.call('HMGET', sums, 'count', 'cpus', 'memory')
    if tonumber(kept[1] or '') == count then return {count, tonumber(kept[2]), tonumber(kept[3])} end
    local all = {count, 0, 0}
    for _, text in ipairs(redis.call('HVALS', claims)) do
      local cpus, memory = size(text)
      all[2] = all[2] + cpus
      all[3] = all[3] + memory
    end
    -- Where there is no memory for it, the next one adds them up again.
    redis.pcall('HSET', sums, 'count', all[1], 'cpus', all[2], 'memory', all[3])
    redis.pcall('PEXPIRE', sums, ${SUMS_KEPT_MS})
    return all
  end`;

/**
 * KEYS: claims, their expiries, their sums, bucket. The bucket is the time at which it is full again (see rate.ts,
 * whose rule this is). ARGV: the values named first in the script. The limits, tokens per second and `oldMs` may be '':
 * no limit, and the caller needs no names of old claims. `asking` are the claims to admit; `counted` are other claims
 * that the caller counts itself.
 * When there is too little room, the answer names the claims that a node has, and some of the other, old ones.
 */
const ADMIT = new Script(`
  ${NOW}
  ${SUMS}
  local keptMs = ARGV[1]
  local most = {ARGV[2], ARGV[3], ARGV[4]}
  local perSecond, burst = tonumber(ARGV[5]), tonumber(ARGV[6])
  local placedMs, oldMs, skip = ARGV[7], ARGV[8], ARGV[9]
  local count = tonumber(ARGV[10])
  local bucket = KEYS[4]
  local asking, counted = {}, {}
  for i = 11, 10 + 3 * count, 3 do
    asking[#asking + 1] = {id = ARGV[i], cpus = tonumber(ARGV[i + 1]), memory = tonumber(ARGV[i + 2])}
  end
  for i = 11 + 3 * count, #ARGV do counted[#counted + 1] = ARGV[i] end

  for _, id in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now)) do drop(id) end
  local had = sum()
  for _, id in ipairs(counted) do
    local text = redis.call('HGET', claims, id)
    if text then
      local cpus, memory = size(text)
      had = {had[1] - 1, had[2] - cpus, had[3] - memory}
    end
  end
  local added, grown = {0, 0, 0}, {0, 0, 0}
  for _, claim in ipairs(asking) do
    local text = redis.call('HGET', claims, claim.id)
    if text then
      local cpus, memory = size(text)
      grown = {0, grown[2] + claim.cpus - cpus, grown[3] + claim.memory - memory}
    else
      added = {added[1] + 1, added[2] + claim.cpus, added[3] + claim.memory}
    end
  end
  for kind = 1, 3 do
    if most[kind] ~= '' and had[kind] + added[kind] > tonumber(most[kind]) then
      local placed, old = {}, {}
      if oldMs ~= '' then
        -- Those that a node has end soon, all others later.
        for _, id in ipairs(redis.call('ZRANGEBYSCORE', ends, now, now + placedMs)) do
          local _, _, marked = size(redis.call('HGET', claims, id) or '')
          if marked then placed[#placed + 1] = id end
        end
        local from, to = '(' .. string.format('%.4f', now + placedMs), now + keptMs - oldMs
        old = redis.call('ZRANGEBYSCORE', ends, from, to, 'LIMIT', skip, ${OLD_PAGE})
      end
      return {'short', kind, tostring(had[kind]), placed, old}
    end
  end
  if perSecond then
    local token = 1000 / perSecond
    local most = now + math.max(burst, ${MAX_CREATE_COUNT}) * token
    local from = math.min(math.max(tonumber(redis.call('GET', bucket) or '0'), now), most)
    local wait = from + math.min(count, burst) * token - burst * token - now
    if wait > 1e-3 then return {'rate', tostring(math.ceil(wait))} end
    local full = from + count * token
    redis.call('SET', bucket, string.format('%.4f', full), 'PX', math.ceil(full - now) + 1000)
  end
  for _, claim in ipairs(asking) do
    redis.call('HSET', claims, claim.id, claim.cpus .. ' ' .. claim.memory)
    redis.call('ZADD', ends, now + keptMs, claim.id)
  end
  change(added[1], added[2] + grown[2], added[3] + grown[3])
  redis.call('PEXPIRE', claims, ${IDLE_KEPT_MS})
  redis.call('PEXPIRE', ends, ${IDLE_KEPT_MS})
  return {'admitted'}`);

/** ARGV: how long they still count, ids. */
const PLACED = new Script(`
  ${NOW}
  for i = 2, #ARGV do
    local kept = redis.call('HGET', KEYS[1], ARGV[i])
    if kept and not string.match(kept, ' placed$') then
      redis.call('ZADD', KEYS[2], now + ARGV[1], ARGV[i])
      redis.call('HSET', KEYS[1], ARGV[i], kept .. ' placed')
    end
  end`);

const RELEASE = new Script(`
  ${SUMS}
  for _, id in ipairs(ARGV) do drop(id) end`);

/** What `ADMIT` answers. */
type Reply =
  ['admitted'] | ['rate', waitMs: string] | ['short', kind: number, claimed: string, placed: string[], old: string[]];

/** Too little room; with the claims that a node has, and some old ones that nobody has reported. */
export type Short = Extract<Verdict, { short: keyof Usage }> & { placed: string[]; old: string[] };

export interface AdmitOptions {
  /** How long a claim still counts once a node has the sandbox. */
  placedMs: number;
  /** Others are named if older than this; null: none are named. */
  oldMs: number | null;
  /** How many of the old ones to skip. */
  skip: number;
  /** Ids that the caller counts itself. */
  counted: readonly string[];
}

const keysOf = (tenant: string): string[] => [KEYS.claims(tenant), KEYS.claimEnds(tenant), KEYS.claimSums(tenant)];
const words = ({ id, milliCpus, memoryMb }: Claim): (string | number)[] => [id, milliCpus, memoryMb];

/** @throws ServiceError `node_unavailable` */
export async function admit(
  link: RedisLink,
  { tenant, claims, room, rate, keptMs }: AdmissionRequest,
  { placedMs, oldMs, skip, counted }: AdmitOptions,
): Promise<Exclude<Verdict, { short: keyof Usage }> | Short> {
  const reply = (await ADMIT.run(
    link,
    [...keysOf(tenant), KEYS.bucket(tenant)],
    [
      keptMs,
      ...USAGE_KINDS.map((kind) => room[kind] ?? ''),
      rate?.perSecond ?? '',
      rate?.burst ?? '',
      placedMs,
      oldMs ?? '',
      skip,
      claims.length,
      ...claims.flatMap(words),
      ...counted,
    ],
  )) as Reply;
  switch (reply[0]) {
    case 'short':
      return {
        admitted: false,
        short: USAGE_KINDS[reply[1] - 1] ?? 'sandboxes',
        claimed: Number(reply[2]),
        placed: reply[3],
        old: reply[4],
      };
    case 'rate':
      return { admitted: false, short: 'rate', waitMs: Number(reply[1]) };
    case 'admitted':
      return { admitted: true };
  }
}

/** A node has these: they count for `placedMs` more. @throws ServiceError `node_unavailable` */
export async function markPlaced(
  link: RedisLink,
  tenant: string,
  ids: readonly string[],
  placedMs: number,
): Promise<void> {
  await PLACED.run(link, keysOf(tenant), [placedMs, ...ids]);
}

/** These no longer count. @throws ServiceError `node_unavailable` */
export async function release(link: RedisLink, tenant: string, ids: readonly string[]): Promise<void> {
  await RELEASE.run(link, keysOf(tenant), ids);
}
