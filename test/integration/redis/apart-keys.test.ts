/**
 * Idempotency keys of creates while one gateway has Redis and another does not: a key means the same at both, then and
 * afterwards.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { GatewayConfig } from '../../../src/gateway/config.ts';
import { KEYS } from '../../../src/gateway/redis/keys.ts';
import { parseTenants } from '../../../src/gateway/tenants/file.ts';
import { TAKEN_BACK } from '../../../src/gateway/sandboxes/entry.ts';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import type { Answer, TestGateway } from '../../../src/gateway/testing/harness.ts';
import { Link } from '../../chaos/link.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { create, Gateways, unseen } from './gateways.ts';
import { MuteAfter } from './mute-after.ts';

/** In the message about an end. */
const ENDED = '"type":"ended"';

describe.skipIf(lackingRedis !== null)('keys of creates, where one gateway has no Redis', () => {
  let redis: RedisServer;
  let link: Link;
  let gateways: Gateways;
  beforeEach(async () => {
    redis = await RedisServer.start();
    link = await Link.to(redis.port);
  });
  afterEach(async () => {
    await gateways?.[Symbol.asyncDispose]();
    await link[Symbol.asyncDispose]();
    await redis[Symbol.asyncDispose]();
  });

  const start = async (node: FakeNode, config: Partial<GatewayConfig> = {}): Promise<[TestGateway, TestGateway]> => {
    gateways = await Gateways.start(redis, 1, [node], config);
    return [gateways.at(0), await gateways.addBehind(link)];
  };
  const idsOf = ({ json }: Answer): string[] => ((json.sandboxes ?? []) as { id: string }[]).map(({ id }) => id);
  const lose = async (gateway: TestGateway): Promise<void> => {
    link.cut();
    await gateways.redisIs(false, gateway);
  };
  const find = async (gateway: TestGateway): Promise<void> => {
    link.heal();
    await gateways.redisIs(true, gateway);
  };

  /** The node has room for more, and the gateway knows. */
  const more = async (gateway: TestGateway, node: FakeNode): Promise<void> => {
    node.setReport({ maxSandboxes: 10 });
    await gateway.until('there is room', () => gateway.services.registry.all[0]?.report?.maxSandboxes === 10);
  };

  /** Redis has this many keys. */
  const kept = async (count: number): Promise<void> => {
    const client = new Redis(gateways.config.redisUrl ?? '');
    try {
      const keys = async (): Promise<number> => (await client.keys(KEYS.idempotency('*'))).length;
      await expect.poll(keys, { timeout: 20_000 }).toBe(count);
    } finally {
      client.disconnect();
    }
  };

  test.each([
    { name: 'sandboxes', rules: { sandboxes: 3 } },
    { name: 'creates', rules: { createsPerSecond: 0.001, createBurst: 2 } },
  ])('what was made without Redis does not count again among the $name when its key is repeated', async ({ rules }) => {
    const node = new FakeNode();
    const [a, b] = await start(node, { tenants: parseTenants({ tenants: { default: rules } }) });
    await create(a);
    await lose(b);
    const made = idsOf(await create(b, 'key', { count: 2 }));
    expect(made).toHaveLength(2);
    await a.until('the other knows them', () => a.services.sandboxes.usage('default').sandboxes === 3);
    expect(idsOf(await create(a, 'key', { count: 2 }))).toEqual(made);
    await find(b);
    expect(idsOf(await create(b, 'key', { count: 2 }))).toEqual(made);
    expect(node.specs).toHaveLength(3);
  });

  test('a key refused any number of times means what was then created under it', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    const [a, b] = await start(node, { queueMax: 1 });
    const others = [(await create(a)).json.id as string, (await create(a)).json.id as string];
    for (let i = 0; i < 20; i++) expect((await create(a, 'key')).status).toBe(503);
    for (const id of others.toReversed()) await a.ask('DELETE', `/v1/sandboxes/${id}`);
    const made = (await create(a, 'key')).json.id as string;
    await b.until('the other knows it', () => b.services.sandboxes.usage('default').sandboxes === 1);
    node.setReport({ maxSandboxes: 2 });
    await lose(b);
    expect((await create(b, 'key')).json.id).toBe(made);
  });

  test('a sandbox accepted by a gateway without Redis stays when another, with Redis, must refuse it', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 3 } });
    const [b, a] = await start(node, { queueMax: 1 });
    await lose(a);
    node.room = 2;
    const made = idsOf(await create(a, 'key', { count: 3 }));
    expect(made).toHaveLength(3);
    await b.until('the other knows two', () => b.services.sandboxes.usage('default').sandboxes === 2);
    const other = (await create(b)).json.id as string;
    expect((await create(b, 'key', { count: 3 })).json.error).toMatchObject({ code: 'capacity_exhausted' });
    await b.ask('DELETE', `/v1/sandboxes/${other}`);
    node.room = Infinity;
    expect(idsOf(await create(b, 'key', { count: 3 }))).toEqual(made);
    await find(a);
    expect(idsOf(await create(a, 'key', { count: 3 }))).toEqual(made);
    for (const id of made) await a.until('it runs', () => node.records.get(id)?.status === 'RUNNING');
    expect(node.deleted).toEqual([]);
  });

  test('a create withdrawn with Redis and repeated without it is the same with it', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    const [a, b] = await start(node, { queueMax: 1 });
    expect((await create(b, 'key', { count: 3 })).json.error).toMatchObject({ code: 'capacity_exhausted' });
    await a.until('it has ended', () => [...node.records.values()].every(({ status }) => status === 'TERMINATED'));
    node.setReport({ maxSandboxes: 10 });
    const [known] = b.services.registry.all;
    await b.until('there is room', () => known?.report?.maxSandboxes === 10 && known.live === 0);
    await lose(b);
    const made = idsOf(await create(b, 'key', { count: 3 }));
    expect(made).toHaveLength(3);
    await a.until('the other knows them', () => a.services.sandboxes.usage('default').sandboxes === 3);
    expect(idsOf(await create(a, 'key', { count: 3 }))).toEqual(made);
    expect(a.services.sandboxes.usage('default').sandboxes).toBe(3);
  });

  test('what was withdrawn with Redis keeps no id without it, even if no message told of the end', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 1, [node], { queueMax: 1 });
    await using messages = await MuteAfter.start(link.port, ENDED, 'redis');
    const [a, b] = [gateways.at(0), await gateways.addBehind(messages)];
    await create(a);
    await b.until('it knows that there is no room', () => b.services.sandboxes.usage('default').sandboxes === 1);
    expect((await create(b, 'key', { count: 2 })).json.error).toMatchObject({ code: 'capacity_exhausted' });
    await lose(b);
    await a.until('it has ended', () => a.services.sandboxes.usage('default').sandboxes === 1);
    await more(b, node);
    const made = idsOf(await create(b, 'key', { count: 2 }));
    expect(made).toHaveLength(2);
    await a.until('the other knows them', () => a.services.sandboxes.usage('default').sandboxes === 3);
    messages.heal();
    await find(b);
    for (const gateway of [a, b]) expect(idsOf(await create(gateway, 'key', { count: 2 }))).toEqual(made);
    expect(node.deleted).toEqual([]);
  });

  test('a gateway that has just found Redis learns what was withdrawn before it uses a key', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 0, [node], { queueMax: 1 });
    const b = await gateways.addBehind(link);
    await create(b);
    expect((await create(b, 'key', { count: 2 })).json.error).toMatchObject({ code: 'capacity_exhausted' });
    await lose(b);
    await more(b, node);
    const made = idsOf(await create(b, 'key', { count: 2 }));
    expect(made).toHaveLength(2);
    await using messages = await MuteAfter.start(redis.port, 'subscribe');
    const a = await gateways.addBehind(messages);
    await a.until('it knows them', () => a.services.sandboxes.usage('default').sandboxes === 3);
    const asked = create(a, 'key', { count: 2 });
    await sleep(50);
    expect(node.specs).toHaveLength(3);
    messages.heal();
    expect(idsOf(await asked)).toEqual(made);
    await find(b);
    expect(idsOf(await create(b, 'key', { count: 2 }))).toEqual(made);
    expect(node.specs).toHaveLength(3);
  });

  test.each([
    { what: 'ended', known: true },
    { what: 'did not end', known: false },
  ])('an id is not used again until Redis has said whether it ended: it $what', async ({ known }) => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 1, [node], { queueMax: 1 });
    const a = gateways.at(0);
    await create(a);
    // Redis executes a script at once only if it knows it, and otherwise asks for its text.
    if (known) await create(a, 'other', { count: 2 });
    await using answers = await MuteAfter.start(redis.port, TAKEN_BACK);
    await using messages = await MuteAfter.start(answers.port, ENDED, 'redis');
    const b = await gateways.addBehind(messages);
    await b.until('it knows that there is no room', () => b.services.sandboxes.usage('default').sandboxes === 1);
    expect((await create(b, 'key', { count: 2 })).json.error).toMatchObject({ code: 'capacity_exhausted' });
    await gateways.redisIs(false, b);
    await more(b, node);
    expect((await create(b, 'key', { count: 2 })).json.error).toMatchObject({ code: 'capacity_exhausted' });
    answers.heal();
    messages.heal();
    await gateways.redisIs(true, b);
    const made = idsOf(await create(b, 'key', { count: 2 }));
    expect(made).toHaveLength(2);
    expect(idsOf(await create(a, 'key', { count: 2 }))).toEqual(made);
    for (const id of made) await a.until('it runs', () => node.records.get(id)?.status === 'RUNNING');
    expect(node.specs).toHaveLength(3);
    expect(node.deleted).toEqual([]);
  });

  test('a key used without Redis is a conflict for a different request once Redis is back, at both', async () => {
    const node = new FakeNode();
    const [a, b] = await start(node);
    await lose(b);
    const made = (await create(b, 'key')).json.id as string;
    await find(b);
    await kept(1);
    for (const gateway of [a, b]) {
      expect((await create(gateway, 'key', { memoryMb: 64 })).json.error).toMatchObject({
        code: 'idempotency_conflict',
      });
      expect((await create(gateway, 'key')).json.id).toBe(made);
    }
    expect(node.specs).toHaveLength(1);
  });

  test('a key used with Redis keeps its meaning, whatever a gateway without Redis was asked under it', async () => {
    const node = new FakeNode();
    const [a, b] = await start(node);
    const made = (await create(a, 'key')).json.id as string;
    await b.until('the other knows it', () => b.services.sandboxes.usage('default').sandboxes === 1);
    await lose(b);
    expect((await create(b, 'key', { memoryMb: 64 })).json.id).toBe(made);
    // Reported after it.
    expect((await create(b, 'later')).status).toBe(201);
    await find(b);
    await kept(2);
    for (const gateway of [a, b]) expect((await create(gateway, 'key')).json.id).toBe(made);
    expect(node.specs).toHaveLength(2);
  });

  test('a sandbox deleted while queued remains what its key stands for, also at a gateway that has lost Redis since', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    const [a, b] = await start(node);
    const first = (await create(a)).json.id as string;
    const made = idsOf(await create(a, 'key', { count: 2 }));
    const one = (await create(b, 'other')).json.id as string;
    for (const id of [made[0], one]) await a.ask('DELETE', `/v1/sandboxes/${id}`);
    await b.until('the other knows that', () => b.services.shared.queue.depth === 1);
    await lose(b);
    node.setReport({ maxSandboxes: 5 });
    const batch = await create(b, 'key', { count: 2 });
    expect([batch.status, idsOf(batch)]).toEqual([201, made]);
    expect(batch.json.sandboxes[0]).toMatchObject({ status: 'TERMINATED', reason: 'deleted' });
    expect((await create(b, 'other')).json).toMatchObject({ id: one, status: 'TERMINATED', reason: 'deleted' });
    await find(b);
    expect((await create(b, 'other')).json).toMatchObject({ id: one, status: 'TERMINATED' });
    await a.until('the rest runs', () => node.records.get(made[1] ?? '')?.status === 'RUNNING');
    expect(node.specs.map(({ id }) => id).toSorted()).toEqual([first, made[1]].toSorted());
  });

  test('a queued batch is found under its key by a gateway that has lost Redis since, and at once', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    const [a, b] = await start(node);
    const first = (await create(a)).json.id as string;
    const made = idsOf(await create(a, 'key', { count: 2 }));
    await b.until('the other knows them', () => b.services.shared.queue.depth === 2);
    await lose(b);
    const asked = create(b, 'key', { count: 2 });
    await expect(Promise.race([asked.then(idsOf), sleep(10_000).then(() => 'no answer')])).resolves.toEqual(made);
    await find(b);
    node.setReport({ maxSandboxes: 3 });
    for (const id of made) await a.until('it runs', () => node.records.get(id)?.status === 'RUNNING');
    expect(node.specs.map(({ id }) => id).toSorted()).toEqual([first, ...made].toSorted());
  });

  test('a gateway that gets no answer from Redis sends nothing of a queued batch that it might take back', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 0, [node]);
    const b = await gateways.addBehind(link);
    const view = unseen(node);
    const a = await gateways.add({ nodes: [view.node], config: { defaultImage: 'image' } });
    link.silence('back');
    const made = idsOf(await create(a, 'key', { count: 2 }));
    expect(made).toHaveLength(2);
    expect((await create(b, 'key', { count: 2 })).json.error).toMatchObject({ code: 'capacity_exhausted' });
    link.heal();
    await gateways.redisIs(true, b);
    await b.until('one runs', () => made.some((id) => node.records.get(id)?.status === 'RUNNING'));
    expect(node.deleted).toEqual([]);
    expect(idsOf(await create(b, 'key', { count: 2 }))).toEqual(made);
  });

  test.each([1, 2])(
    'of %i that a gateway without Redis accepted, one that loses it in the middle ends none',
    async (count) => {
      const node = new FakeNode({ report: { maxSandboxes: count } });
      gateways = await Gateways.start(redis, 0, [node], { defaultImage: 'image' });
      // The first may still be placed by the one, the last must wait when its Redis goes silent.
      await using mute = await MuteAfter.start(redis.port, '"record"');
      const [a, b] = [await gateways.addBehind(link), await gateways.addBehind(mute)];
      const other = (await create(a)).json.id as string;
      await lose(a);
      const asked = create(b, 'key', { count });
      await b.until('one must wait', () => b.services.sandboxes.usage('default').sandboxes === count + 1);
      await a.until('all others run', () => a.services.sandboxes.usage('default').sandboxes === count);
      node.setReport({ maxSandboxes: count + 1 });
      await a.until('there is room', () => a.services.registry.all[0]?.report?.maxSandboxes === count + 1);
      const made = idsOf(await create(a, 'key', { count }));
      expect(made).toHaveLength(count);
      expect(idsOf(await asked)).toEqual(made);
      mute.heal();
      await find(a);
      await gateways.redisIs(true);
      for (const gateway of [a, b]) expect(idsOf(await create(gateway, 'key', { count }))).toEqual(made);
      expect(node.specs.map(({ id }) => id).toSorted()).toEqual([other, ...made].toSorted());
      expect(node.deleted).toEqual([]);
    },
  );
});
