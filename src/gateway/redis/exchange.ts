/** Every gateway says something of itself, and hears what all the others have said, in one step. */
import type { RedisLink } from './link.ts';
import { Script } from './script.ts';

/** What each gateway said, and until when that counts. Answers what all others said. ARGV: me, how long, text. */
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

/** A hash of what was said, and a sorted set of until when it counts. */
export type Board = readonly [said: string, ends: string];

/** @throws ServiceError `node_unavailable` */
export async function exchange(
  link: RedisLink,
  board: Board,
  { me, text, keptMs }: { me: string; text: string; keptMs: number },
): Promise<string[]> {
  return (await EXCHANGE.run(link, board, [me, keptMs, text])) as string[];
}

/** Nothing that this gateway said counts any more. @throws ServiceError `node_unavailable` */
export async function withdraw(link: RedisLink, [said]: Board, me: string): Promise<void> {
  await link.run((client) => client.hdel(said, me));
}
