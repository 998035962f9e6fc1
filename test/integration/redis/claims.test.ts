/** Claims in Redis: counted correctly whoever changes them, at a cost independent of their number. */
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { OLD_PAGE, release } from '../../../src/gateway/redis/claims.ts';
import { RedisCounters } from '../../../src/gateway/redis/counters.ts';
import { KEYS } from '../../../src/gateway/redis/keys.ts';
import { RedisLink } from '../../../src/gateway/redis/link.ts';
import type { AdmissionRequest, Claim, Verdict } from '../../../src/gateway/tenants/counters.ts';
import { MemoryCounters } from '../../../src/gateway/tenants/memory-counters.ts';
import { silent } from '../../../src/lib/logger.ts';
import { Link } from '../../chaos/link.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { until } from '../../helpers/until.ts';

const LIMIT_MS = 20_000;
const MANY = 5_000;
const NO_BOUND = { sandboxes: null, milliCpus: null, memoryMb: null };
const claims = (from: number, count: number, size: Partial<Claim> = {}): Claim[] =>
  Array.from({ length: count }, (_, i) => ({ id: `sbx-${from + i}`, milliCpus: 1000, memoryMb: 512, ...size }));

describe.skipIf(lackingRedis !== null)('claims in Redis', () => {
  let redis: RedisServer;
  let link: RedisLink;
  let counters: RedisCounters;
  beforeAll(async () => {
    redis = await RedisServer.start();
    link = await RedisLink.open({ url: redis.url(), log: silent });
    await until(() => link.up, LIMIT_MS, 'redis to be there');
    // A script unknown to the server is sent twice, and so runs after what was requested after it.
    await release(link, 'nobody', ['sbx-none']);
  });
  beforeEach(async () => {
    await link.client.flushdb();
    counters = new RedisCounters({ link, orphanedMs: 0 });
  });
  afterEach(() => counters.stop());
  afterAll(async () => {
    await link?.stop();
    await redis?.[Symbol.asyncDispose]();
  });

  const admit = (change: Partial<AdmissionRequest>): Promise<Verdict> =>
    counters.admit({
      tenant: 'red',
      claims: [],
      room: NO_BOUND,
      rate: null,
      keptMs: 600_000,
      seen: () => 'open',
      ...change,
    });
  const fill = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i += 500) expect((await admit({ claims: claims(i, 500) })).admitted).toBe(true);
  };
  /** How often a command was called since the last look, scripts included. */
  const calls = async (name: string): Promise<number> => {
    const info = await link.client.info('commandstats');
    await link.client.config('RESETSTAT');
    return Number(new RegExp(`^cmdstat_${name}:calls=(\\d+)`, 'm').exec(info)?.[1] ?? 0);
  };

  test('a create costs the same however many there are, whether it is admitted or refused', async () => {
    await fill(MANY);
    await admit({ claims: claims(MANY, 1), room: { ...NO_BOUND, sandboxes: 1 } });
    await calls('hget');
    for (let i = 0; i < 10; i++) {
      const refused = await admit({ claims: claims(MANY, 1), room: { ...NO_BOUND, milliCpus: MANY * 1000 } });
      expect(refused).toEqual({ admitted: false, short: 'milliCpus', claimed: MANY * 1000 });
    }
    expect(await calls('(?:hvals|hgetall|hget)')).toBe(10);
    expect((await admit({ claims: claims(MANY, 1), room: { ...NO_BOUND, sandboxes: MANY + 1 } })).admitted).toBe(true);
    counters.release('red', ['sbx-0', 'sbx-1']);
    expect((await admit({ claims: claims(MANY + 1, 2), room: { ...NO_BOUND, sandboxes: MANY + 1 } })).admitted).toBe(
      true,
    );
    expect(await calls('(?:hvals|hgetall)')).toBe(0);
  });

  test('the totals equal the claims, after anything was admitted, refused and released', async () => {
    const size = { milliCpus: fc.constantFrom(100, 1000, 2500), memoryMb: fc.constantFrom(64, 512) };
    const step = fc.record({
      from: fc.nat({ max: 20 }),
      count: fc.integer({ min: 1, max: 5 }),
      drop: fc.boolean(),
      ...size,
    });
    let tenants = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const tenant = `t${(tenants += 1)}`;
        const model = new MemoryCounters();
        for (const { from, count, drop, ...each } of steps) {
          const some = claims(from, count, each);
          if (drop)
            for (const form of [model, counters])
              form.release(
                tenant,
                some.map(({ id }) => id),
              );
          else {
            const room = { sandboxes: 12, milliCpus: 12_000, memoryMb: 4_000 };
            const asking = { tenant, claims: some, room, rate: null, keptMs: 600_000, seen: () => 'open' as const };
            expect(await counters.admit(asking)).toEqual(await model.admit(asking));
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  test('claims added or removed by a gateway of another version count like any other', async () => {
    await fill(1_000);
    await link.client.hdel(KEYS.claims('red'), ...claims(0, 400).map(({ id }) => id));
    await link.client.zrem(KEYS.claimEnds('red'), ...claims(0, 400).map(({ id }) => id));
    await link.client.hset(KEYS.claims('red'), 'sbx-other', '4000 1024');
    const room = { ...NO_BOUND, milliCpus: 604_000 };
    expect(await admit({ claims: claims(5_000, 1), room })).toEqual({
      admitted: false,
      short: 'milliCpus',
      claimed: 604_000,
    });
  });

  test('old claims of dead gateways are found even if one answer cannot list them all', async () => {
    await fill(500);
    const dead = new Set(claims(500 - 20, 20).map(({ id }) => id));
    const room = { ...NO_BOUND, sandboxes: 500 };
    const seen = (id: string) => (dead.has(id) ? 'unknown' : 'open') as 'unknown' | 'open';
    expect(dead.size).toBeLessThan(OLD_PAGE);
    await until(
      async () => (await admit({ claims: claims(1_000, 20), room, seen })).admitted,
      LIMIT_MS,
      'their places',
    );
    expect((await admit({ claims: claims(2_000, 1), room, seen })).admitted).toBe(false);
  });

  test('a server without memory still refuses at the quota, and accepts releases', async () => {
    await fill(500);
    const room = { ...NO_BOUND, sandboxes: 500 };
    await redis.order('CONFIG SET maxmemory 1');
    try {
      expect(await admit({ claims: claims(500, 1), room })).toMatchObject({ short: 'sandboxes', claimed: 500 });
      counters.release('red', ['sbx-0']);
      expect(await admit({ claims: claims(500, 2), room })).toMatchObject({ short: 'sandboxes', claimed: 499 });
    } finally {
      await redis.order('CONFIG SET maxmemory 0');
    }
    expect((await admit({ claims: claims(500, 1), room })).admitted).toBe(true);
  });

  describe('of a gateway that loses Redis for a while', () => {
    let way: Link;
    let far: RedisLink;
    let cutOff: RedisCounters;
    beforeEach(async () => {
      way = await Link.to(redis.port);
      far = await RedisLink.open({ url: redis.url().replace(`:${redis.port}`, `:${way.port}`), log: silent });
      cutOff = new RedisCounters({ link: far, placedMs: 1 });
      await until(() => far.up, LIMIT_MS, 'redis to be there');
    });
    afterEach(async () => {
      await cutOff.stop();
      await far.stop();
      await way[Symbol.asyncDispose]();
    });
    const asking = { tenant: 'red', rate: null, keptMs: 600_000, seen: () => 'open' as const };
    const away = async (): Promise<void> => {
      way.cut();
      await until(() => !far.up, LIMIT_MS, 'redis to be away');
    };
    const back = async (): Promise<void> => {
      way.heal();
      await until(() => far.up, LIMIT_MS, 'redis to be back');
    };
    const counted = (): Promise<number> => link.client.hlen(KEYS.claims('red'));

    test('claims that ended or were placed meanwhile no longer count once it is back', async () => {
      await cutOff.admit({ ...asking, claims: claims(0, 3), room: NO_BOUND });
      await away();
      cutOff.release('red', ['sbx-0']);
      cutOff.placed('red', ['sbx-1']);
      await back();
      // As every second.
      await cutOff.exchangeRunning(new Map());
      const room = { ...NO_BOUND, sandboxes: 2 };
      await until(async () => (await admit({ claims: claims(3, 1), room })).admitted, LIMIT_MS, 'the places');
      expect((await admit({ claims: claims(4, 1), room })).admitted).toBe(false);
    });

    test('the first create that it then admits finds their places free', async () => {
      const room = { ...NO_BOUND, sandboxes: 2 };
      await cutOff.admit({ ...asking, claims: claims(0, 2), room });
      await away();
      cutOff.release('red', ['sbx-0', 'sbx-1']);
      await back();
      expect((await cutOff.admit({ ...asking, claims: claims(1, 2), room })).admitted).toBe(true);
      await cutOff.exchangeRunning(new Map());
      expect(await counted()).toBe(2);
    });

    test('a renewed claim stays, whatever happened to the previous one', async () => {
      await cutOff.admit({ ...asking, claims: claims(0, 1), room: NO_BOUND });
      await away();
      cutOff.placed('red', ['sbx-0']);
      cutOff.release('red', ['sbx-0']);
      cutOff.placed('red', ['sbx-0']);
      await back();
      await cutOff.admit({ ...asking, claims: claims(0, 1), room: NO_BOUND });
      await cutOff.exchangeRunning(new Map());
      expect(await counted()).toBe(1);
      cutOff.release('red', ['sbx-0']);
      await until(async () => (await counted()) === 0, LIMIT_MS, 'its release');
    });
  });

  test('unreadable command counts of others count as nothing', async () => {
    const others = [
      ['newer', '{"red":{"now":3}}'],
      ['broken', '[['],
      ['like us', '[["red",2]]'],
    ] as const;
    for (const [name, text] of others) {
      await link.client.hset(KEYS.commands, name, text);
      await link.client.zadd(KEYS.commandEnds, Date.now() + 600_000, name);
    }
    expect(await counters.exchangeRunning(new Map([['red', 1]]))).toEqual(new Map([['red', 2]]));
  });
});
