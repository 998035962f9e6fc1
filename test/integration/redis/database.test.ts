/** A gateway uses the database that its address names, or none: others belong to other installations. */
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openShared } from '../../../src/gateway/redis/shared-state.ts';
import { TEST_CONFIG } from '../../../src/gateway/testing/harness.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { until } from '../../helpers/until.ts';
import { TIMES } from './gateways.ts';

const LIMIT_MS = 20_000;

describe.skipIf(lackingRedis !== null)('a database that cannot be selected', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(() => redis?.[Symbol.asyncDispose]());

  test.each([
    { why: 'there are not as many', db: 16, refuse: () => Promise.resolve(), reason: /database in its address/ },
    {
      why: 'its user may not',
      db: 1,
      refuse: () => redis.order('ACL', 'SETUSER', 'default', '-select'),
      reason: /permissions/,
    },
  ])('is a Redis that is away, and leaves the first one alone: $why', async ({ db, refuse, reason }) => {
    await refuse();
    const warnings: { msg: string; reason?: string }[] = [];
    const write = (line: string) => void warnings.push(JSON.parse(line) as (typeof warnings)[number]);
    const log = pino({ level: 'warn' }, { write });
    const shared = await openShared({ ...TEST_CONFIG, redisUrl: redis.url(db) }, log, TIMES);
    try {
      await until(() => warnings.length > 0, LIMIT_MS, 'it to be noticed');
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      expect(shared.up).toBe(false);
      expect(warnings).toEqual([
        expect.objectContaining({ msg: 'redis is away', reason: expect.stringMatching(reason) }),
      ]);
      const client = new Redis(redis.url(0));
      expect(await client.dbsize()).toBe(0);
      client.disconnect();
    } finally {
      await shared.stop();
    }
  });
});
