/** How many commands each tenant runs through each gateway, as all of them tell each other through Redis. */
import * as z from 'zod';
import { KEYS } from './keys.ts';
import type { RedisLink } from './link.ts';
import { Script } from './script.ts';

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

const Counts = z.array(z.tuple([z.string(), z.number()]));
type Counts = z.infer<typeof Counts>;

/**
 * Tells the others what runs here, which counts for `saidMs`. Answers what runs through all of them.
 * @throws ServiceError `node_unavailable`
 */
export async function exchangeCommands(
  link: RedisLink,
  me: string,
  running: ReadonlyMap<string, number>,
  saidMs: number,
): Promise<Map<string, number>> {
  const mine = JSON.stringify([...running]);
  const others = (await EXCHANGE.run(link, [KEYS.commands, KEYS.commandEnds], [me, saidMs, mine])) as string[];
  const sum = new Map<string, number>();
  for (const [tenant, count] of others.flatMap(read)) sum.set(tenant, (sum.get(tenant) ?? 0) + count);
  return sum;
}

/** This gateway runs nothing any more. @throws ServiceError `node_unavailable` */
export async function withdrawCommands(link: RedisLink, me: string): Promise<void> {
  await link.run((client) => client.hdel(KEYS.commands, me));
}

/** Nothing where a gateway of another version says what cannot be read here. */
function read(text: string): Counts {
  try {
    return Counts.safeParse(JSON.parse(text)).data ?? [];
  } catch {
    return [];
  }
}
