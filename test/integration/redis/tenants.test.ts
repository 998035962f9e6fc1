/** A tenant's quotas over two gateways that share a Redis. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseTenants, type TenantRules } from '../../../src/gateway/tenants/file.ts';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import type { TestGateway } from '../../../src/gateway/testing/harness.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { until } from '../../helpers/until.ts';
import { Gateways } from './gateways.ts';
import { KillableGateway } from './killable.ts';

const LIMIT_MS = 30_000;

describe.skipIf(lackingRedis !== null)("a tenant's quotas over two gateways", () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(() => redis?.[Symbol.asyncDispose]());

  const start = (node: FakeNode, own: Partial<TenantRules>): Promise<Gateways> =>
    Gateways.start(redis, 2, [node], { tenants: parseTenants({ tenants: { default: own } }) });
  const create = async (gateway: TestGateway, body: object = {}) => gateway.ask('POST', '/v1/sandboxes', { body });

  test('creates queued at one gateway count at the other, and so do abandoned ones', async () => {
    const node = new FakeNode();
    node.room = 0;
    await using gateways = await start(node, { sandboxes: 10 });
    const [one, two] = [gateways.at(0), gateways.at(1)];
    const made = await create(one, { count: 8 });
    expect(made.status).toBe(201);
    expect((await create(two, { count: 3 })).json.error).toMatchObject({
      code: 'quota_exceeded',
      details: { quota: 'sandboxes', limit: 10, used: 8 },
    });
    expect((await create(two, { count: 2 })).status).toBe(201);
    expect((await create(one)).status).toBe(429);
    expect((await one.ask('DELETE', `/v1/sandboxes/${made.json.sandboxes[0].id}`)).status).toBe(200);
    await until(async () => (await create(two)).status === 201, LIMIT_MS, 'the place that became free');
    expect((await create(one)).status).toBe(429);
  });

  test('concurrent creates at both never exceed the quota', async () => {
    const node = new FakeNode();
    node.room = 0;
    await using gateways = await start(node, { sandboxes: 15 });
    const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => create(gateways.at(i % 2))));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(15);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(25);
  });

  test('the rate limit covers both together', async () => {
    await using gateways = await start(new FakeNode(), { createsPerSecond: 0.01, createBurst: 4 });
    const answers = await Promise.all(Array.from({ length: 10 }, (_, i) => create(gateways.at(i % 2))));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(4);
    for (const { json } of answers.filter(({ status }) => status !== 201)) {
      expect(json.error).toMatchObject({ code: 'rate_limited', details: { quota: 'createsPerSecond' } });
    }
  });

  test('commands through one gateway count at the other within a moment', async () => {
    const node = new FakeNode();
    await using gateways = await start(node, { execs: 2 });
    const [one, two] = [gateways.at(0), gateways.at(1)];
    const id = await one.sandbox();
    await two.until('the other knows it', () => two.services.sandboxes.list('default').sandboxes.length === 1);
    const running = [one.exec(id, { hang: true }), one.exec(id, { hang: true })];
    await node.execs.startedCount(2);
    await until(async () => (await two.exec(id, {})).status === 429, LIMIT_MS, 'the other to hear of them');
    for (const exec of [...node.execs.started]) node.execs.finish(exec);
    await Promise.all(running);
    await until(async () => (await two.exec(id, {})).status === 200, LIMIT_MS, 'the other to hear of their end');
  });

  test('a batch is one message per node here too', async () => {
    const node = new FakeNode();
    await using gateways = await start(node, { sandboxes: 300 });
    const { json } = await gateways.at(0).ask('POST', '/v1/sandboxes?waitMs=20000', { body: { count: 200 } });
    expect(json.sandboxes.every(({ status }: { status: string }) => status === 'RUNNING')).toBe(true);
    expect([node.opened.get('createMany'), node.opened.get('create') ?? 0]).toEqual([1, 0]);
  });

  test('creates admitted by a killed gateway use up no quota except for what exists', async () => {
    const tenants = { tenants: { default: { sandboxes: 3 } } };
    const node = new FakeNode();
    node.room = 0;
    await using gateways = await Gateways.start(redis, 1, [node], { tenants: parseTenants(tenants) });
    const other = gateways.at(0);
    await using doomed = await KillableGateway.start(String(gateways.config.redisUrl), [node], { tenants });
    const waiting: string[] = [];
    for (let i = 0; i < 2; i++) {
      let id: unknown;
      await until(async () => (id = (await doomed.ask('POST', '/v1/sandboxes', {})).id) !== undefined, LIMIT_MS, 'one');
      waiting.push(String(id));
    }
    await doomed.kill();
    node.room = 100;
    node.setReport({});
    for (const id of waiting) {
      expect((await other.ask('GET', `/v1/sandboxes/${id}?waitMs=20000`)).json.status).toBe('RUNNING');
    }
    await other.ask('DELETE', `/v1/sandboxes/${waiting[0]}`);
    const fresh: string[] = [];
    const more = async (): Promise<boolean> => {
      const { status, json } = await create(other);
      if (status === 201) fresh.push(json.id as string);
      return fresh.length === 2;
    };
    await until(more, LIMIT_MS, 'all the places that nobody has');
    expect((await create(other)).json.error).toMatchObject({ code: 'quota_exceeded', details: { used: 3 } });
  });
});
