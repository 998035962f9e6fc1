/** A Lua script that Redis runs atomically. */
import { createHash } from 'node:crypto';
import type { RedisLink } from './link.ts';

export class Script {
  readonly #lua: string;
  readonly #sha: string;

  constructor(lua: string) {
    this.#lua = lua;
    this.#sha = createHash('sha1').update(lua).digest('hex');
  }

  /** @throws ServiceError `node_unavailable` without an answer: it may have been executed. */
  async run(link: RedisLink, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    return await link.run(async (client) => {
      try {
        return await client.evalsha(this.#sha, keys.length, ...keys, ...args);
      } catch (error) {
        // A restarted server has lost its script cache.
        if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
        return await client.eval(this.#lua, keys.length, ...keys, ...args);
      }
    });
  }
}
