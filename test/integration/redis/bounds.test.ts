/** How far a tenant's quotas hold while a gateway hears less than the others: from a node, or from Redis. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { KEYS } from '../../../src/gateway/redis/keys.ts';
import { RedisLink } from '../../../src/gateway/redis/link.ts';
import type { UsageSnapshot } from '../../../src/gateway/tenants/counters.ts';
import { parseTenants } from '../../../src/gateway/tenants/file.ts';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import type { Answer, TestGateway } from '../../../src/gateway/testing/harness.ts';
import { silent } from '../../../src/lib/logger.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { until } from '../../helpers/until.ts';
import { Gateways } from './gateways.ts';

const LIMIT_MS = 30_000;

describe.skipIf(lackingRedis !== null)("a tenant's quotas", () => {
  let redis: RedisServer;
  let gateways: Gateways;
  beforeEach(async () => {
    redis = await RedisServer.start();
  });
  afterEach(async () => {
    await gateways?.[Symbol.asyncDispose]();
    await redis[Symbol.asyncDispose]();
  });

  const own = (sandboxes: number) => ({ tenants: parseTenants({ tenants: { default: { sandboxes } } }) });
  const create = (gateway: TestGateway, count?: number): Promise<Answer> =>
    gateway.ask('POST', '/v1/sandboxes', { body: { count } });
  const alive = (...nodes: FakeNode[]): number =>
    nodes.flatMap(({ records }) => [...records.values()]).filter(({ status }) => status === 'RUNNING').length;
  const known = (gateway: TestGateway): number => gateway.services.sandboxes.usage('default').sandboxes;

  test('a gateway cut off from a node relies on what the others see there', async () => {
    const node = new FakeNode();
    gateways = await Gateways.start(redis, 1, [node], own(5));
    const [one] = gateways.all as [TestGateway];
    const cutOff = await gateways.add({ config: { nodeGraceMs: 50 } });
    expect((await create(one, 2)).status).toBe(201);
    await cutOff.until('it knows both', () => known(cutOff) === 2);
    const heard = vi.spyOn(cutOff.services.shared.counters, 'exchangeUsage');
    const told = (): unknown[] =>
      heard.mock.settledResults.flatMap(({ value }) =>
        (value as UsageSnapshot[]).map(({ usage }) => usage.get('default')?.sandboxes),
      );
    await cutOff.services.registry.all[0]?.link?.stop();
    await cutOff.until('it has given them up', () => known(cutOff) === 0);
    expect((await create(one, 2)).status).toBe(201);
    await until(() => alive(node) === 4, LIMIT_MS, 'all to run');
    const link = await RedisLink.open({ url: String(gateways.config.redisUrl), log: silent });
    await until(() => link.up, LIMIT_MS, 'redis to be there');
    const claims = (): Promise<number> => link.client.zcount(KEYS.claimEnds('default'), Date.now(), '+inf');
    await until(() => told().includes(4), LIMIT_MS, 'the other to be told of all');
    await until(async () => (await claims()) === 0, LIMIT_MS, 'nothing of them to be left in Redis');
    expect((await create(cutOff, 2)).json.error).toMatchObject({ code: 'quota_exceeded', details: { used: 4 } });
    expect((await create(cutOff)).status).toBe(201);
    expect((await create(one)).status).toBe(429);
    await link.stop();
  });

  test('without Redis each gateway relies on what is on the nodes, admits no more than the quota at once, and it recovers', async () => {
    const nodes = ['node-a', 'node-b'].map((name) => new FakeNode({ name }));
    gateways = await Gateways.start(redis, 2, nodes, own(10));
    const [one, two] = gateways.all as [TestGateway, TestGateway];
    const made: string[] = (await create(one, 4)).json.sandboxes.map(({ id }: { id: string }) => id);
    await redis.kill();
    await gateways.redisIs(false);
    // One after the other, they see what the other has created.
    expect((await create(two, 4)).status).toBe(201);
    await until(() => known(one) === 8, LIMIT_MS, 'the first to hear of those of the second');
    expect((await create(one, 3)).json.error).toMatchObject({ code: 'quota_exceeded', details: { used: 8 } });
    // At the same moment they do not, and each admits what it thinks is left.
    const answers = await Promise.all(Array.from({ length: 12 }, (_, i) => create(gateways.at(i % 2))));
    const admitted = answers.filter(({ status }) => status === 201);
    expect(admitted.length).toBeGreaterThanOrEqual(2);
    expect(admitted.length).toBeLessThanOrEqual(4);
    await until(() => alive(...nodes) === 8 + admitted.length, LIMIT_MS, 'all to run');
    await redis.restart();
    await gateways.redisIs(true);
    for (const gateway of [one, two])
      expect((await create(gateway)).json.error).toMatchObject({ code: 'quota_exceeded' });
    for (const id of [...made, ...admitted.map(({ json }) => json.id as string)]) {
      await one.ask('DELETE', `/v1/sandboxes/${id}`);
    }
    await until(() => known(one) === 4 && known(two) === 4, LIMIT_MS, 'both to know what is left');
    // Creates admitted without Redis left no claim behind.
    await until(async () => (await create(two, 6)).status === 201, LIMIT_MS, 'all places but those that are taken');
    expect((await create(one)).status).toBe(429);
  });
});
