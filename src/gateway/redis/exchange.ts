/** A board on which every gateway posts a text and reads what all the others have posted, in one step. */
import type { RedisLink } from './link.ts';
import { Script } from './script.ts';

/** Posts a text with its expiry, and answers the texts of all others. ARGV: me, validity in ms, text. */
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

/** A hash of the texts, and a sorted set of when they expire. */
export type Board = readonly [texts: string, expiries: string];

/** @throws ServiceError `node_unavailable` */
export async function exchange(
  link: RedisLink,
  board: Board,
  { me, text, keptMs }: { me: string; text: string; keptMs: number },
): Promise<string[]> {
  return (await EXCHANGE.run(link, board, [me, keptMs, text])) as string[];
}

/** Removes this gateway's text. @throws ServiceError `node_unavailable` */
export async function withdraw(link: RedisLink, [texts]: Board, me: string): Promise<void> {
  await link.run((client) => client.hdel(texts, me));
}
