/** The node that a sandbox was last sent to, in case it was sent to more than one. */
import type { Owners } from '../sandboxes/duplicate-resolver.ts';
import { KEYS } from './keys.ts';
import type { RedisLink } from './link.ts';
import { Script } from './script.ts';

/** Longer than any sandbox lives. */
export const OWNER_KEPT_MS = 8 * 24 * 3_600_000;

const OWNER = new Script(`
  local owner = redis.call('GET', KEYS[1])
  for i = 2, #ARGV do
    if ARGV[i] == owner then return owner end
  end
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
  return ARGV[2]`);

export function redisOwners(link: RedisLink): Owners {
  return {
    ownerOf: async (id, candidates) => String(await OWNER.run(link, [KEYS.owner(id)], [OWNER_KEPT_MS, ...candidates])),
  };
}
