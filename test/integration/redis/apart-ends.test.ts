/** Ends decided by one gateway while another, which does not know of them, has or gets the sandbox. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { GatewayConfig } from '../../../src/gateway/config.ts';
import { KEYS } from '../../../src/gateway/redis/keys.ts';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import type { Answer, TestGateway } from '../../../src/gateway/testing/harness.ts';
import { Link } from '../../chaos/link.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { create, Gateways, unseen } from './gateways.ts';
import { MuteAfter } from './mute-after.ts';

const WAIT_MS = 1_500;
/** For propagation: a gateway that could not reach something retries after a pause. */
const NEWS = { timeout: 20_000 };

describe.skipIf(lackingRedis !== null)('ends, when gateways differ in what they know', () => {
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

  const sandboxAt = async (gateway: TestGateway, id: string): Promise<Answer['json']> =>
    (await gateway.ask('GET', `/v1/sandboxes/${id}`)).json;
  const lose = async (gateway: TestGateway): Promise<void> => {
    link.cut();
    await gateways.redisIs(false, gateway);
  };
  const find = async (gateway: TestGateway): Promise<void> => {
    link.heal();
    await gateways.redisIs(true, gateway);
  };
  /** Two over one node: the second reaches Redis over the link. */
  const start = async (node: FakeNode, config: Partial<GatewayConfig> = {}): Promise<[TestGateway, TestGateway]> => {
    gateways = await Gateways.start(redis, 1, [node], config);
    return [gateways.at(0), await gateways.addBehind(link)];
  };

  test('a sandbox on a node that this gateway cannot reach does not end when its wait here would be over', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 1, [node], { defaultImage: 'image' });
    const a = gateways.at(0);
    const view = unseen(node);
    const b = await gateways.add({ nodes: [view.node], config: { queueWaitMs: WAIT_MS } });
    const placed = (await create(b)).json.id as string;
    await a.until('it runs', () => node.records.get(placed)?.status === 'RUNNING');
    // A sandbox that has waited as long, or longer, ends.
    const waits = (await create(b)).json.id as string;
    await expect.poll(() => sandboxAt(a, waits), NEWS).toMatchObject({ reason: 'start_failed' });
    expect(await sandboxAt(a, placed)).toMatchObject({ status: 'RUNNING' });
    view.found();
    await expect.poll(() => sandboxAt(b, placed), NEWS).toMatchObject({ status: 'RUNNING' });
    expect(node.deleted).toEqual([]);
  });

  test('a sandbox placed by a gateway without Redis does not end when its wait is over for one that cannot know', async () => {
    const node = new FakeNode();
    gateways = await Gateways.start(redis, 0, [node], { defaultImage: 'image' });
    const view = unseen(node);
    const b = await gateways.add({ nodes: [view.node], config: { queueWaitMs: WAIT_MS } });
    const a = await gateways.addBehind(link);
    await lose(a);
    const id = (await create(b, 'key')).json.id as string;
    expect((await create(a, 'key')).json.id).toBe(id);
    await a.until('it runs', () => node.records.get(id)?.status === 'RUNNING');
    await expect.poll(() => sandboxAt(b, id), NEWS).toMatchObject({ reason: 'start_failed' });
    await find(a);
    const next = (await create(a, 'next')).json.id as string;
    view.found();
    for (const gateway of [a, b]) {
      await expect.poll(() => sandboxAt(gateway, next), NEWS).toMatchObject({ status: 'RUNNING' });
      await expect.poll(() => sandboxAt(gateway, id), NEWS).toMatchObject({ status: 'RUNNING' });
    }
    expect(node.deleted).toEqual([]);
    // A delete is no guess.
    await b.ask('DELETE', `/v1/sandboxes/${id}`);
    await a.until('it has ended', () => node.records.get(id)?.status === 'TERMINATED');
  });

  test('a wait that expires at a gateway without Redis ends only what still waits when Redis is back', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 1, [node]);
    const a = gateways.at(0);
    const b = await gateways.addBehind(link, { config: { queueWaitMs: WAIT_MS } });
    const first = (await create(a)).json.id as string;
    const [placed, waits] = [(await create(b)).json.id as string, (await create(b)).json.id as string];
    await a.until('the other knows them', () => a.services.shared.queue.depth === 2);
    await lose(b);
    await sleep(2 * WAIT_MS);
    await a.ask('DELETE', `/v1/sandboxes/${first}`);
    await a.until('one runs', () => node.records.get(placed)?.status === 'RUNNING');
    await expect.poll(() => sandboxAt(b, placed), NEWS).toMatchObject({ status: 'RUNNING' });
    expect(await sandboxAt(b, waits)).toMatchObject({ status: 'PENDING' });
    await find(b);
    for (const gateway of [a, b]) {
      await expect.poll(() => sandboxAt(gateway, waits), NEWS).toMatchObject({ reason: 'start_failed' });
      expect(await sandboxAt(gateway, placed)).toMatchObject({ status: 'RUNNING' });
    }
    expect(node.deleted).toEqual([{ id: first, reason: 'deleted' }]);
  });

  test('what Redis lost comes back with the gateway that accepted it, however late it finds Redis', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    const [b, a] = await start(node);
    const first = (await create(a)).json.id as string;
    const waits = (await create(a)).json.id as string;
    await b.until('the other knows it', () => b.services.shared.queue.depth === 1);
    await lose(a);
    await redis.kill();
    await gateways.redisIs(false, b);
    await redis.restart({ empty: true });
    await gateways.redisIs(true, b);
    await expect.poll(() => sandboxAt(b, waits), { timeout: 30_000 }).toMatchObject({ reason: 'start_failed' });
    expect(await sandboxAt(a, waits)).toMatchObject({ status: 'PENDING' });
    await find(a);
    await expect.poll(() => sandboxAt(b, waits), NEWS).toMatchObject({ status: 'PENDING', queuePosition: 0 });
    await b.ask('DELETE', `/v1/sandboxes/${first}`);
    await a.until('it runs', () => node.records.get(waits)?.status === 'RUNNING');
    for (const gateway of [a, b])
      await expect.poll(() => sandboxAt(gateway, waits), NEWS).toMatchObject({ status: 'RUNNING' });
    expect(node.specs.map(({ id }) => id)).toEqual([first, waits]);
  });

  test('a ticket placed without Redis takes no place in the queue afterwards, nor is it placed again', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    const [a] = await start(node, { queueMax: 1 });
    const first = (await create(a)).json.id as string;
    const waits = (await create(a, 'key')).json.id as string;
    await redis.kill();
    await gateways.redisIs(false);
    // The other has not learnt of it.
    await gateways.replace(1);
    const late = gateways.at(1);
    await a.ask('DELETE', `/v1/sandboxes/${first}`);
    await late.until('there is room', () => late.services.registry.all[0]?.live === 0);
    expect((await create(late, 'key')).json.id).toBe(waits);
    await redis.restart();
    await gateways.redisIs(true);
    const client = new Redis(gateways.config.redisUrl ?? '');
    try {
      await expect.poll(() => client.hlen(KEYS.waiting), NEWS).toBe(0);
      await expect.poll(() => client.keys('{millibox}:bull:*:sbx-*'), NEWS).toEqual([]);
    } finally {
      client.disconnect();
    }
    expect((await create(late)).status).toBe(201);
  });

  test('tickets of a refused batch are not taken from a gateway that has accepted it since', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    const [a, b] = await start(node);
    const first = (await create(a)).json.id as string;
    // Redis is lost when the first of the two has been enqueued.
    const { queue } = b.services.shared;
    const add = queue.add.bind(queue);
    let added: ReturnType<typeof add>;
    const spy = vi.spyOn(queue, 'add').mockImplementation(async (...asked) => {
      if (added === undefined) return await (added = add(...asked));
      await added;
      await a.until('the other knows the first', () => a.services.shared.queue.depth === 1);
      link.silence('there');
      return await add(...asked);
    });
    expect((await create(b, 'key', { count: 2 })).json.error).toMatchObject({ code: 'capacity_exhausted' });
    spy.mockRestore();
    const made = ((await create(a, 'key', { count: 2 })).json.sandboxes as { id: string }[]).map(({ id }) => id);
    await find(b);
    const next = (await create(b)).json.id as string;
    await expect.poll(() => sandboxAt(a, next), NEWS).toMatchObject({ status: 'PENDING' });
    for (const id of made) expect(await sandboxAt(a, id)).toMatchObject({ status: 'PENDING' });
    node.setReport({ maxSandboxes: 4 });
    for (const id of made) await a.until('it runs', () => node.records.get(id)?.status === 'RUNNING');
    await a.until('the next runs', () => node.records.get(next)?.status === 'RUNNING');
    expect(node.specs.map(({ id }) => id).toSorted()).toEqual([first, ...made, next].toSorted());
    expect(node.deleted).toEqual([]);
  });

  test('a node that one gateway told to refuse a create ends it at no other', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    const [a, b] = await start(node);
    await create(a);
    await lose(b);
    const waits = (await create(a, 'key')).json.id as string;
    // As a gateway does that does not know whether the node has received it.
    const bar = a.services.registry.all[0]?.call({ op: 'delete', sandbox: waits, reason: 'internal' });
    await expect(bar).rejects.toMatchObject({ code: 'sandbox_not_found' });
    node.setReport({ maxSandboxes: 2 });
    await b.until('there is room', () => b.services.registry.all[0]?.report?.maxSandboxes === 2);
    expect((await create(b, 'key')).json.error).toMatchObject({ code: 'capacity_exhausted', retryable: true });
    await find(b);
    // By now it has written everything it owes to Redis.
    await b.until('it knows what waits', () => b.services.shared.queue.informed);
    const next = (await create(b, undefined, { cpus: 7 })).json.id as string;
    await a.ask('DELETE', `/v1/sandboxes/${next}`);
    for (const gateway of [a, b]) expect(await sandboxAt(gateway, waits)).toMatchObject({ status: 'PENDING' });
  });

  test('a create refused for lack of an answer leaves nothing behind that another gateway placed', async () => {
    const node = new FakeNode();
    await using mute = await MuteAfter.start(redis.port, 'ticket');
    gateways = await Gateways.start(redis, 1, [node], { defaultImage: 'image' });
    const a = gateways.at(0);
    const b = await gateways.addBehind(mute, { nodes: [unseen(node).node] });
    const answer = create(b);
    await a.until('it runs', () => [...node.records.values()].some(({ status }) => status === 'RUNNING'));
    expect((await answer).json.error).toMatchObject({ code: 'capacity_exhausted', retryable: true });
    mute.heal();
    await gateways.redisIs(true, b);
    await a.until('it has ended', () => [...node.records.values()].every(({ status }) => status === 'TERMINATED'));
  });
});
