/** What a gateway logs about Redis: one warning when it goes away, one when it is back, nothing in between. */
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openShared, type SharedState } from '../../../src/gateway/redis/shared-state.ts';
import { TEST_CONFIG } from '../../../src/gateway/testing/harness.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { until } from '../../helpers/until.ts';
import { TIMES } from './gateways.ts';

const LIMIT_MS = 60_000;

describe.skipIf(lackingRedis !== null)('the log of a gateway that leads', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(async () => {
    redis.thaw();
    await redis[Symbol.asyncDispose]();
  });

  const outages = [
    { name: 'stands still', begin: async () => redis.freeze(), end: async () => redis.thaw() },
    { name: 'is killed', begin: () => redis.kill(), end: () => redis.restart() },
  ];

  test.each(outages)(
    'warns once that Redis is away and once that it is back: it $name',
    { timeout: LIMIT_MS },
    async ({ begin, end }) => {
      const warnings: { level: number; msg: string; reason?: string; awayMs?: number }[] = [];
      const write = (line: string) => void warnings.push(JSON.parse(line) as (typeof warnings)[number]);
      const shared = await openShared(
        { ...TEST_CONFIG, redisUrl: redis.url() },
        pino({ level: 'warn' }, { write }),
        TIMES,
      );
      const becomes = (what: string, is: (shared: SharedState) => boolean) => until(() => is(shared), LIMIT_MS, what);
      try {
        await becomes('the gateway to lead', ({ leader }) => leader.leading);
        for (let times = 0; times < 2; times++) {
          await begin();
          await becomes('Redis to be away', ({ up }) => up === false);
          await end();
          await becomes('Redis to be there', ({ up }) => up === true);
          await becomes('the gateway to lead', ({ leader }) => leader.leading);
        }
      } finally {
        await shared.stop();
      }
      const away = { level: 40, msg: 'redis is away', reason: expect.any(String) as string };
      const back = { level: 40, msg: 'redis is back', awayMs: expect.any(Number) as number };
      expect(warnings).toMatchObject([away, back, away, back]);
    },
  );
});
