/** Redis freezes, refuses commands, is full, or is killed and comes back with its persisted data. */
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import { KEYS } from '../../../src/gateway/redis/keys.ts';
import type { Answer, TestGateway } from '../../../src/gateway/testing/harness.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { Link } from '../../chaos/link.ts';
import { create, Gateways } from './gateways.ts';

describe.skipIf(lackingRedis !== null)('without Redis for a while', () => {
  let redis: RedisServer;
  let gateways: Gateways;
  beforeEach(async () => {
    redis = await RedisServer.start();
  });
  afterEach(async () => {
    redis.thaw();
    await gateways?.[Symbol.asyncDispose]();
    await redis[Symbol.asyncDispose]();
  });

  const statusAt = async (gateway: TestGateway, id: string): Promise<string> =>
    (await gateway.ask('GET', `/v1/sandboxes/${id}`)).json.status as string;

  const outages = [
    { name: 'it stands still', begin: async () => redis.freeze(), end: async () => redis.thaw() },
    { name: 'it is killed', begin: () => redis.kill(), end: () => redis.restart() },
    {
      name: 'it is a replica, and takes no writes',
      begin: () => redis.order('REPLICAOF 127.0.0.1 1'),
      end: () => redis.order('REPLICAOF NO ONE'),
    },
    {
      name: 'it lets nobody in',
      begin: async () => {
        await redis.order('ACL SETUSER default resetpass >another');
        await redis.order('CLIENT KILL SKIPME yes TYPE normal');
        await redis.order('CLIENT KILL TYPE pubsub');
      },
      end: () => redis.order('ACL SETUSER default resetpass >password-of-a-test'),
    },
  ];

  test.each(outages)(
    'execs and creates that fit go on, what must wait is told so, and nothing is lost or doubled: $name',
    async ({ begin, end }) => {
      const nodes = [new FakeNode({ report: { maxSandboxes: 3 } })];
      gateways = await Gateways.start(redis, 2, nodes);
      const [a, b] = [gateways.at(0), gateways.at(1)];
      const before = (await create(a, 'before')).json.id as string;
      await begin();
      await gateways.redisIs(false);

      expect((await b.exec(before, {})).status).toBe(200);
      const fits = await create(a);
      expect(fits.status).toBe(201);
      expect((await b.exec(fits.json.id, {})).status).toBe(200);
      // A key used at one gateway means the same sandbox at the other.
      const keyed = await create(a, 'meanwhile');
      expect((await create(b, 'meanwhile')).json.id).toBe(keyed.json.id);
      const mustWait = await create(b);
      expect(mustWait.status).toBe(503);
      expect(mustWait.json.error).toMatchObject({ code: 'capacity_exhausted', retryable: true });
      expect(mustWait.headers['retry-after']).toBeDefined();

      await end();
      await gateways.redisIs(true);
      expect((await create(b, 'before')).json.id).toBe(before);
      expect((await create(a, 'meanwhile')).json.id).toBe(keyed.json.id);
      const ids = nodes.flatMap(({ specs }) => specs.map(({ id }) => id));
      expect(ids.toSorted()).toEqual([before, fits.json.id, keyed.json.id].toSorted());
      const waits = (await create(b)).json.id as string;
      await expect.poll(() => statusAt(a, waits)).toBe('PENDING');
    },
  );

  test.each(outages)('queued creates are placed once when it is back: $name', async ({ begin, end }) => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 2, [node]);
    const [a, b] = [gateways.at(0), gateways.at(1)];
    const first = (await create(a)).json.id as string;
    const waiting = [(await create(a)).json.id as string, (await create(b)).json.id as string];
    await begin();
    await gateways.redisIs(false);
    // There is room, and a queued create ends, while no ticket can be taken or removed.
    await a.ask('DELETE', `/v1/sandboxes/${first}`);
    const deleted = a.ask('DELETE', `/v1/sandboxes/${waiting[0]}`);
    await expect.poll(() => statusAt(a, waiting[0] ?? '')).toBe('TERMINATED');
    await end();
    expect((await deleted).json.status).toBe('TERMINATED');
    await b.until('the other runs', () => node.records.get(waiting[1] ?? '')?.status === 'RUNNING');
    await expect.poll(() => statusAt(b, waiting[0] ?? '')).toBe('TERMINATED');
    const ids = node.specs.map(({ id }) => id);
    expect(ids.filter((id) => id === waiting[1])).toHaveLength(1);
    // Whichever is back first may take the ticket before its end arrives: then the node is told, and it has ended
    // there.
    expect(ids.filter((id) => id === waiting[0]).length).toBeLessThanOrEqual(1);
    await expect.poll(() => node.records.get(waiting[0] ?? '')?.status ?? 'TERMINATED').toBe('TERMINATED');
  });

  test('a create refused meanwhile may be repeated under its key, here and at other gateways', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 2, [node]);
    const [a, b] = [gateways.at(0), gateways.at(1)];
    const first = (await create(a)).json.id as string;
    await redis.kill();
    await gateways.redisIs(false);
    for (const key of ['here', 'there']) expect((await create(a, key)).status).toBe(503);
    await a.ask('DELETE', `/v1/sandboxes/${first}`);
    const here = await create(a, 'here');
    expect(here.status).toBe(201);
    await a.until('it runs', () => node.records.get(here.json.id)?.status === 'RUNNING');
    await a.ask('DELETE', `/v1/sandboxes/${here.json.id}`);
    const there = (await create(b, 'there')).json.id as string;
    await b.until('the other runs', () => node.records.get(there)?.status === 'RUNNING');
    await redis.restart();
    await gateways.redisIs(true);
    // It stays, and its key means it, at both.
    for (const gateway of [a, b])
      expect((await create(gateway, 'there')).json).toMatchObject({ id: there, status: 'RUNNING' });
  });

  test.each([
    { name: 'without Redis', end: (): Promise<void> => Promise.resolve() },
    {
      name: 'with one that lost everything',
      end: () => redis.restart({ empty: true }).then(() => gateways.redisIs(true)),
    },
  ])('a key that failed at first means what was made under it then, elsewhere too: $name', async ({ end }) => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 2, [node], { queueMax: 1 });
    const [a, b] = [gateways.at(0), gateways.at(1)];
    const others = [(await create(a)).json.id as string, (await create(a)).json.id as string];
    for (let i = 0; i < 2; i++) expect((await create(a, 'key')).status).toBe(503);
    for (const id of others.toReversed()) await a.ask('DELETE', `/v1/sandboxes/${id}`);
    const made = (await create(a, 'key')).json.id as string;
    await b.until('the other knows it', () => b.services.sandboxes.usage('default').sandboxes === 1);
    await redis.kill();
    await gateways.redisIs(false);
    await end();
    for (const gateway of [b, a]) expect((await create(gateway, 'key')).json.id).toBe(made);
  });

  test('a Redis that lost everything is told again what is queued', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 2, [node]);
    const [a, b] = [gateways.at(0), gateways.at(1)];
    const first = (await create(a)).json.id as string;
    const waits = (await create(a)).json.id as string;
    await redis.kill();
    await gateways.redisIs(false);
    await redis.restart({ empty: true });
    await gateways.redisIs(true);
    await b.ask('DELETE', `/v1/sandboxes/${first}`);
    await b.until('it runs', () => node.records.get(waits)?.status === 'RUNNING');
    expect(node.specs.filter(({ id }) => id === waits)).toHaveLength(1);
  });

  test('creates admitted by a gateway that is gone end soon when Redis loses them too', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 2, [node]);
    const [a, b] = [gateways.at(0), gateways.at(1)];
    await create(a);
    const orphan = (await create(a)).json.id as string;
    await b.until('the other knows it', () => b.services.shared.queue.depth === 1);
    await a[Symbol.asyncDispose]();
    gateways.all.shift();
    await redis.kill();
    await gateways.redisIs(false);
    await redis.restart({ empty: true });
    await gateways.redisIs(true);
    // Once more, with its present data.
    await redis.kill();
    await gateways.redisIs(false);
    await redis.restart();
    await gateways.redisIs(true);
    const { json } = await b.ask('GET', `/v1/sandboxes/${orphan}?waitMs=30000`);
    expect(json).toMatchObject({ status: 'ERROR', reason: 'start_failed' });
    expect((await create(b)).json.queuePosition).toBe(0);
  });

  test('tickets withdrawn while a gateway did not listen are soon forgotten there', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 2, [node]);
    const [a, b] = [gateways.at(0), gateways.at(1)];
    await create(a);
    const withdrawn = (await create(a)).json.id as string;
    await b.until('the other knows it', () => b.services.shared.queue.depth === 1);
    await a[Symbol.asyncDispose]();
    gateways.all.shift();
    // Changed as by a withdrawal, but without its message; the next one has a number that reveals the gap.
    const client = new Redis(gateways.config.redisUrl ?? '');
    await client.multi().del(KEYS.waiting, KEYS.places).incr(KEYS.sequence).exec();
    client.disconnect();
    const next = (await create(b)).json.id as string;
    await expect
      .poll(async () => (await b.ask('GET', `/v1/sandboxes/${withdrawn}`)).status, { timeout: 30_000 })
      .toBe(404);
    expect(await statusAt(b, next)).toBe('PENDING');
  });

  test('a gateway starts without Redis, and finds it later', async () => {
    await redis.kill();
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 0, [node]);
    const gateway = await gateways.add({ withRedis: false });
    const first = (await create(gateway, 'k')).json.id as string;
    expect((await gateway.exec(first, {})).status).toBe(200);
    expect((await create(gateway)).status).toBe(503);
    await redis.restart();
    await gateways.redisIs(true);
    expect((await create(gateway)).status).toBe(201);
  });

  test('a full Redis refuses creates that must be queued, and nothing else', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 2 } });
    gateways = await Gateways.start(redis, 2, [node]);
    const [a, b] = [gateways.at(0), gateways.at(1)];
    const first = (await create(a)).json.id as string;
    await create(a);
    const [waits, unwanted] = [(await create(a)).json.id as string, (await create(b)).json.id as string];
    await redis.order('CONFIG SET maxmemory 1');
    expect((await create(b)).json.error).toMatchObject({ code: 'capacity_exhausted', retryable: true });
    expect((await create(a, 'key')).json.error).toMatchObject({ code: 'capacity_exhausted' });
    expect((await b.exec(first, {})).status).toBe(200);
    // Commands that free space in it are executed.
    await a.ask('DELETE', `/v1/sandboxes/${unwanted}`);
    await expect.poll(() => statusAt(b, unwanted)).toBe('TERMINATED');
    await b.ask('DELETE', `/v1/sandboxes/${first}`);
    await redis.order('CONFIG SET maxmemory 0');
    await a.until('what waited runs', () => node.records.get(waits)?.status === 'RUNNING');
    await a.ask('DELETE', `/v1/sandboxes/${waits}`);
    expect((await create(a, 'key')).status).toBe(201);
    const ids = node.specs.map(({ id }) => id);
    expect(ids.filter((id) => id === waits)).toHaveLength(1);
    expect(ids).not.toContain(unwanted);
  });

  test.each([
    { name: 'on a node', roomAgain: true },
    { name: 'waiting', roomAgain: false },
  ])('a create that one gateway turned down takes nothing from its retry at another: $name', async ({ roomAgain }) => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 2, [node]);
    const [a, b] = [gateways.at(0), gateways.at(1)];
    const first = (await create(a)).json.id as string;
    await redis.order('CONFIG SET maxmemory 1');
    expect((await create(a, 'key')).status).toBe(503);
    if (roomAgain) await a.ask('DELETE', `/v1/sandboxes/${first}`);
    else await redis.order('CONFIG SET maxmemory 0');
    const made = (await create(b, 'key')).json.id as string;
    // The first writes what it owes to Redis when it finds it again, before any other request.
    await redis.kill();
    await gateways.redisIs(false);
    await redis.restart();
    await gateways.redisIs(true);
    const last = (await create(a)).json.id as string;
    await expect.poll(() => statusAt(b, last)).toBe('PENDING');
    for (const gateway of [a, b]) {
      expect(await statusAt(gateway, made)).toBe(roomAgain ? 'RUNNING' : 'PENDING');
      expect((await create(gateway, 'key')).json.id).toBe(made);
    }
  });

  test.each([
    { name: 'has no room for all', free: 1, reported: 2 },
    { name: 'believes that there is room', free: 1, reported: 6 },
  ])(
    'of a batch that one gateway accepted, another that has not found Redis ends nothing: it $name',
    async ({ free, reported }) => {
      const node = new FakeNode({ report: { maxSandboxes: 1 } });
      gateways = await Gateways.start(redis, 1, [node]);
      await using link = await Link.to(redis.port);
      const redisUrl = gateways.config.redisUrl?.replace(`:${redis.port}`, `:${link.port}`);
      const [a, b] = [gateways.at(0), await gateways.add({ config: { redisUrl } })];
      const first = (await create(a)).json.id as string;
      const batch = async (gateway: TestGateway): Promise<string[]> => {
        const asked = { body: { count: 3 }, headers: { 'idempotency-key': 'key' } };
        const { json } = await gateway.ask('POST', '/v1/sandboxes', asked);
        return ((json.sandboxes ?? []) as { id: string }[]).map(({ id }) => id);
      };
      link.cut();
      await gateways.redisIs(false, b);
      const ids = await batch(a);
      expect(ids).toHaveLength(3);
      await redis.kill();
      await gateways.redisIs(false, a);

      node.room = free;
      node.setReport({ maxSandboxes: reported });
      await b.until('it knows', () => b.services.registry.all[0]?.report?.maxSandboxes === reported);
      const again = await batch(b);
      if (again.length > 0) expect(again).toEqual(ids);
      await redis.restart();
      link.heal();
      await gateways.redisIs(true);
      node.room = Infinity;
      node.setReport({ maxSandboxes: 6 });
      for (const id of ids) await a.until('it runs', () => node.records.get(id)?.status === 'RUNNING');
      expect(await batch(a)).toEqual(ids);
      expect(await batch(b)).toEqual(ids);
      expect(node.specs.map(({ id }) => id).toSorted()).toEqual([first, ...ids].toSorted());
      expect(node.deleted).toEqual([]);
    },
  );

  test('a batch refused without Redis is complete when repeated, here and at other gateways', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 4 } });
    gateways = await Gateways.start(redis, 2, [node]);
    const [a, b] = [gateways.at(0), gateways.at(1)];
    const others = [(await create(a)).json.id as string, (await create(a)).json.id as string];
    await redis.kill();
    await gateways.redisIs(false);
    const batch = (gateway: TestGateway, key: string): Promise<Answer> =>
      gateway.ask('POST', '/v1/sandboxes', { body: { count: 2 + 1 }, headers: { 'idempotency-key': key } });
    for (const key of ['here', 'there']) expect((await batch(a, key)).status).toBe(503);
    // There was room for two of the three.
    expect(node.specs).toHaveLength(others.length);
    for (const gateway of [a, b]) expect(gateway.services.sandboxes.usage('default').sandboxes).toBe(others.length);
    await a.ask('DELETE', `/v1/sandboxes/${others[0]}`);
    for (const [gateway, key] of [
      [a, 'here'],
      [b, 'there'],
    ] as const) {
      const made = await batch(gateway, key);
      expect(made.status).toBe(201);
      const ids = (made.json.sandboxes as { id: string }[]).map(({ id }) => id);
      for (const id of ids) {
        await b.until('it runs', () => node.records.get(id)?.status === 'RUNNING');
        await gateway.ask('DELETE', `/v1/sandboxes/${id}`);
      }
    }
  });
});
