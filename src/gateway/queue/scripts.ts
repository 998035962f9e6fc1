/** Changes to the waiting list in Redis, each atomic with the message that announces it to all gateways. */
import { FENCE } from '../leader/redis-leader.ts';
import { Script } from '../redis/script.ts';

/**
 * Parses an item for the fields that scripts need. Names and labels may hold half a character, which is written as an
 * escape that `cjson` refuses: such escapes are kept as their text. The fields needed here contain none.
 */
const ITEM = String.raw`
  local function item(text)
    return cjson.decode((string.gsub(text, '\\(.)', function(c) return c == 'u' and '\\\\u' or nil end)))
  end`;

/** Removes an item from the waiting hash and from its tenant's count. Nil: it did not wait. */
const LEAVE = `
  ${ITEM}
  local function leave(waiting, places, id)
    local text = redis.call('HGET', waiting, id)
    if not text then return nil end
    redis.call('HDEL', waiting, id)
    if redis.call('HLEN', waiting) == 0 then
      redis.call('DEL', places)
    else
      local tenant = item(text).record.tenant
      if redis.call('HINCRBY', places, tenant, -1) <= 0 then redis.call('HDEL', places, tenant) end
    end
    return text
  end`;

/**
 * KEYS: waiting, ended, sequence, places. ARGV: id, item, places in total, feed, tenant, its share. Same rule as
 * `refusalOf`.
 */
export const ANNOUNCE = new Script(`
  local id, item, max, feed, tenant, share = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], tonumber(ARGV[6])
  if redis.call('HEXISTS', KEYS[2], id) == 1 then return 'ended' end
  local waits = redis.call('HGET', KEYS[1], id)
  if waits then
    -- Whoever asked last has it: an earlier one may want to take it back.
    if waits ~= item then redis.call('HSET', KEYS[1], id, item) end
    return 'waits'
  end
  local total = redis.call('HLEN', KEYS[1])
  local own = tonumber(redis.call('HGET', KEYS[4], tenant) or '0')
  if own >= share and total > own then return 'share' end
  if total >= max then
    local lent = 0
    if own < share then
      for _, count in ipairs(redis.call('HVALS', KEYS[4])) do lent = math.max(lent, tonumber(count) - share) end
    end
    if total - lent >= max then return 'full' end
  end
  redis.call('HSET', KEYS[1], id, item)
  redis.call('HINCRBY', KEYS[4], tenant, 1)
  local sequence = redis.call('INCR', KEYS[3])
  redis.call('PUBLISH', feed, '{"type":"waits","sequence":' .. sequence .. ',"item":' .. item .. '}')
  return 'waits'`);

/**
 * KEYS: waiting, ended, sequence, endedAt, places. ARGV: id, record, when it ended, feed, records kept, only if it
 * waits, who announced it last or ''.
 */
export const END = new Script(`
  ${LEAVE}
  if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 0 end
  if ARGV[6] ~= '' then
    local text = redis.call('HGET', KEYS[1], ARGV[1])
    if not text or (ARGV[7] ~= '' and item(text).by ~= ARGV[7]) then return 0 end
  end
  leave(KEYS[1], KEYS[5], ARGV[1])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
  redis.call('ZADD', KEYS[4], ARGV[3], ARGV[1])
  local old = redis.call('ZRANGE', KEYS[4], 0, -1 - tonumber(ARGV[5]))
  for _, id in ipairs(old) do
    redis.call('ZREM', KEYS[4], id)
    redis.call('HDEL', KEYS[2], id)
  end
  local sequence = redis.call('INCR', KEYS[3])
  redis.call('PUBLISH', ARGV[4], '{"type":"ended","sequence":' .. sequence .. ',"record":' .. ARGV[2] .. '}')
  return 1`);

/** KEYS: waiting, sequence, places. ARGV: id, who announced it last, record, feed. */
export const WITHDRAW = new Script(`
  ${LEAVE}
  local text = redis.call('HGET', KEYS[1], ARGV[1])
  if not text or item(text).by ~= ARGV[2] then return 0 end
  leave(KEYS[1], KEYS[3], ARGV[1])
  local sequence = redis.call('INCR', KEYS[2])
  redis.call('PUBLISH', ARGV[4], '{"type":"withdrawn","sequence":' .. sequence .. ',"record":' .. ARGV[3] .. '}')
  return 1`);

/** KEYS: waiting, sequence, places. ARGV: id, feed. */
export const GONE = new Script(`
  ${LEAVE}
  if not leave(KEYS[1], KEYS[3], ARGV[1]) then return 0 end
  local sequence = redis.call('INCR', KEYS[2])
  redis.call('PUBLISH', ARGV[2], '{"type":"gone","sequence":' .. sequence .. ',"id":"' .. ARGV[1] .. '"}')
  return 1`);

/** KEYS: waiting, ended, sequence, era. ARGV: a name for the era, if it has none. */
export const READ = new Script(`
  -- Where nothing can be written there is no name, and nothing is concluded from it.
  redis.pcall('SET', KEYS[4], ARGV[1], 'NX')
  return {redis.call('GET', KEYS[4]) or '', redis.call('GET', KEYS[3]) or '0', redis.call('HVALS', KEYS[1]), redis.call('HVALS', KEYS[2])}`);

/**
 * Drops the oldest ended records, a bounded number at a time. KEYS: ended, endedAt, term. ARGV: term, newest to drop.
 */
export const FORGET = new Script(`
  ${FENCE}
  local old = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[2], 'LIMIT', 0, 1000)
  for _, id in ipairs(old) do
    redis.call('ZREM', KEYS[2], id)
    redis.call('HDEL', KEYS[1], id)
  end
  return #old`);
