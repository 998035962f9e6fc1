/** Gateways on one Redis with different settings or versions: each goes by its own. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { KEYS } from '../../../src/gateway/redis/keys.ts';
import { RedisLink } from '../../../src/gateway/redis/link.ts';
import { parseTenants, type TenantRules } from '../../../src/gateway/tenants/file.ts';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import type { Answer, TestGateway } from '../../../src/gateway/testing/harness.ts';
import { silent } from '../../../src/lib/logger.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { until } from '../../helpers/until.ts';
import { Gateways } from './gateways.ts';

const LIMIT_MS = 30_000;

describe.skipIf(lackingRedis !== null)('gateways that differ', () => {
  let redis: RedisServer;
  let gateways: Gateways;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterEach(() => gateways?.[Symbol.asyncDispose]());
  afterAll(() => redis?.[Symbol.asyncDispose]());

  /** One, or this many in one call. */
  const create = (gateway: TestGateway, count?: number): Promise<Answer> =>
    gateway.ask('POST', '/v1/sandboxes', { body: { count } });
  const own = (rules: Partial<TenantRules>) => ({ tenants: parseTenants({ tenants: { default: rules } }) });

  test('each limits a tenant by its own file, and both by the same counts', async () => {
    const node = new FakeNode();
    node.room = 0;
    gateways = await Gateways.start(redis, 0, [node]);
    const strict = await gateways.add({ config: own({ sandboxes: 3 }) });
    const lax = await gateways.add({ config: own({ sandboxes: 6 }) });
    const free = await gateways.add();
    expect((await create(lax, 2)).status).toBe(201);
    expect((await create(strict, 2)).json.error).toMatchObject({
      code: 'quota_exceeded',
      details: { limit: 3, used: 2 },
    });
    expect((await create(strict)).status).toBe(201);
    expect((await create(strict)).status).toBe(429);
    expect((await create(lax, 3)).status).toBe(201);
    expect((await create(lax)).json.error).toMatchObject({ details: { limit: 6, used: 6 } });
    // A gateway without quotas counts nothing, and keeps nobody's places.
    expect((await create(free, 4)).status).toBe(201);
    node.room = 100;
    node.setReport({});
    await until(() => node.records.size === 10, LIMIT_MS, 'all to be placed');
    await until(async () => (await create(lax)).status === 429, LIMIT_MS, 'the strict one to count those too');
  });

  test('each limits the queue by its own setting, and serves everything that waits', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 0, [node]);
    const small = await gateways.add({ config: { queueMax: 2 } });
    const large = await gateways.add({ config: { queueMax: 5 } });
    const first = (await create(large)).json.id as string;
    expect((await create(large, 3)).status).toBe(201);
    await until(() => small.services.shared.queue.depth === 3, LIMIT_MS, 'the other to hear of them');
    expect((await create(small)).json.error).toMatchObject({ code: 'capacity_exhausted', details: { queued: 3 } });
    expect((await create(large, 2)).status).toBe(201);
    await large[Symbol.asyncDispose]();
    gateways.all.splice(1, 1);
    node.report = { ...node.report, maxSandboxes: 10 };
    await small.ask('DELETE', `/v1/sandboxes/${first}`);
    node.setReport({});
    await until(() => node.records.size === 6, LIMIT_MS, 'the one that is left to place all');
  });

  test('anything unknown from a newer gateway is ignored, and costs nothing', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 1, [node], own({ sandboxes: 10 }));
    const [gateway] = gateways.all as [TestGateway];
    const link = await RedisLink.open({ url: String(gateways.config.redisUrl), log: silent });
    await until(() => link.up, LIMIT_MS, 'redis to be there');
    const first = (await create(gateway)).json.id as string;
    const waits = (await create(gateway)).json.id as string;
    // A message of an unknown kind, and a claim with unknown fields.
    const { client } = link;
    const sequence = await client.incr(KEYS.sequence);
    await client.publish(KEYS.feed(client.options.db ?? 0), JSON.stringify({ type: 'moved', sequence, to: 'mars' }));
    await client.hset(KEYS.claims('default'), 'sbx-newer', '1000 512 gpus=2');
    await client.zadd(KEYS.claimEnds('default'), Date.now() + 600_000, 'sbx-newer');
    // One of them waits for its node, one is the newer gateway's.
    await until(async () => (await create(gateway, 8)).status === 429, LIMIT_MS, 'all of them to count');
    expect((await create(gateway, 7)).status).toBe(201);
    expect((await gateway.exec(first, {})).status).toBe(200);
    await gateway.ask('DELETE', `/v1/sandboxes/${first}`);
    await until(() => node.records.get(waits)?.status === 'RUNNING', LIMIT_MS, 'what waited to run');
    await link.stop();
  });
});
