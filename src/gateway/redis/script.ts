/** A Lua script that Redis runs in one step: nothing that another gateway does comes between. */
import { createHash } from 'node:crypto';
import type { RedisLink } from './link.ts';

export class Script {
  readonly #lua: string;
  readonly #sha: string;

  constructor(lua: string) {
    this.#lua = lua;
    this.#sha = createHash('sha1').update(lua).digest('hex');
  }

  /** @throws ServiceError `node_unavailable` without an answer: it may have been done. */
  async run(link: RedisLink, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    return await link.run(async (client) => {
      try {
        return await client.evalsha(this.#sha, keys.length, ...keys, ...args);
      } catch (error) {
        // A server that was started anew has forgotten it.
        if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
        return await client.eval(this.#lua, keys.length, ...keys, ...args);
      }
    });
  }
}
