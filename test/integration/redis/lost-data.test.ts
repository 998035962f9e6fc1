/** Redis comes back without its data: what ended while queued has still ended at every gateway. */
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { KEYS } from '../../../src/gateway/redis/keys.ts';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import type { TestGateway } from '../../../src/gateway/testing/harness.ts';
import { Link } from '../../chaos/link.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { create, Gateways } from './gateways.ts';

/** For propagation: a gateway that could not reach something retries after a pause. */
const NEWS = { timeout: 20_000 };

describe.skipIf(lackingRedis !== null)('ends, when Redis has lost its data', () => {
  let redis: RedisServer;
  let link: Link;
  let gateways: Gateways;
  let node: FakeNode;
  beforeEach(async () => {
    redis = await RedisServer.start();
    link = await Link.to(redis.port);
    node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 1, [node]);
  });
  afterEach(async () => {
    await gateways?.[Symbol.asyncDispose]();
    await link[Symbol.asyncDispose]();
    await redis[Symbol.asyncDispose]();
  });

  const statusAt = async (gateway: TestGateway, id: string): Promise<unknown> =>
    (await gateway.ask('GET', `/v1/sandboxes/${id}`)).json.status;
  const loseAll = async (...gone: TestGateway[]): Promise<void> => {
    await redis.kill();
    await gateways.redisIs(false, ...gone);
    await redis.restart({ empty: true });
  };
  const cut = async (gateway: TestGateway): Promise<void> => {
    link.cut();
    await gateways.redisIs(false, gateway);
  };
  const heal = async (): Promise<void> => {
    link.heal();
    await gateways.redisIs(true);
  };
  /** One that fills the node, and one that is queued, both accepted by the first; the second knows them. */
  const makeTwo = async (first: TestGateway, second: TestGateway): Promise<[runs: string, waits: string]> => {
    const [runs, waits] = [(await create(first)).json.id as string, (await create(first)).json.id as string];
    await second.until('the other knows it', () => second.services.shared.queue.depth === 1);
    return [runs, waits];
  };
  /** There is room, and nothing is placed. */
  const neverRuns = async (runs: string, ended: string): Promise<void> => {
    await gateways.at(0).ask('DELETE', `/v1/sandboxes/${runs}`);
    const next = (await create(gateways.at(0))).json.id as string;
    await gateways.at(0).until('the next runs', () => node.records.get(next)?.status === 'RUNNING');
    expect(node.specs.map(({ id }) => id)).not.toContain(ended);
  };

  test('what another gateway deleted while this one was cut off is not queued again', async () => {
    const b = gateways.at(0);
    const a = await gateways.addBehind(link);
    const [runs, waits] = await makeTwo(a, b);
    await cut(a);
    await b.ask('DELETE', `/v1/sandboxes/${waits}`);
    await loseAll(b);
    await heal();
    for (const gateway of [a, b]) await expect.poll(() => statusAt(gateway, waits), NEWS).toBe('TERMINATED');
    await neverRuns(runs, waits);
  });

  test('what a cut-off gateway deleted is not queued again at the others', async () => {
    const a = gateways.at(0);
    const b = await gateways.addBehind(link);
    const [runs, waits] = await makeTwo(a, b);
    await cut(b);
    void b.ask('DELETE', `/v1/sandboxes/${waits}`);
    await expect.poll(() => statusAt(b, waits)).toBe('TERMINATED');
    await loseAll(a);
    await heal();
    for (const gateway of [a, b]) await expect.poll(() => statusAt(gateway, waits), NEWS).toBe('TERMINATED');
    await neverRuns(runs, waits);
  });

  test('what a gateway deleted before it was gone is not queued again where others know of it', async () => {
    const b = gateways.at(0);
    const a = await gateways.addBehind(link);
    const [runs, waits] = await makeTwo(a, b);
    await gateways.add();
    const c = gateways.at(2);
    await cut(a);
    await c.ask('DELETE', `/v1/sandboxes/${waits}`);
    await expect.poll(() => statusAt(b, waits), NEWS).toBe('TERMINATED');
    await c[Symbol.asyncDispose]();
    gateways.all.splice(2, 1);
    await loseAll(b);
    await heal();
    for (const gateway of [a, b]) await expect.poll(() => statusAt(gateway, waits), NEWS).toBe('TERMINATED');
    await neverRuns(runs, waits);
  });

  test('what was deleted when it had ended for lack of its gateway is not queued again when that is back', async () => {
    const b = gateways.at(0);
    const a = await gateways.addBehind(link);
    const [runs, waits] = await makeTwo(a, b);
    await cut(a);
    await loseAll(b);
    await expect.poll(() => statusAt(b, waits), { timeout: 30_000 }).toBe('ERROR');
    expect((await b.ask('DELETE', `/v1/sandboxes/${waits}`)).status).toBe(200);
    expect(await statusAt(a, waits)).toBe('PENDING');
    await heal();
    await expect.poll(() => statusAt(a, waits), NEWS).toBe('TERMINATED');
    await neverRuns(runs, waits);
  });

  test('an end that Redis lost with its last second is still an end', async () => {
    const b = gateways.at(0);
    const a = await gateways.addBehind(link);
    const [runs, waits] = await makeTwo(a, b);
    await cut(a);
    await b.ask('DELETE', `/v1/sandboxes/${waits}`);
    const client = new Redis(gateways.config.redisUrl ?? '');
    await client.multi().hdel(KEYS.ended, waits).zrem(KEYS.endedAt, waits).exec();
    client.disconnect();
    await heal();
    for (const gateway of [a, b]) await expect.poll(() => statusAt(gateway, waits), NEWS).toBe('TERMINATED');
    await neverRuns(runs, waits);
  });

  test('a Redis that is emptied without breaking a connection is told everything again', async () => {
    await gateways.add();
    const [a, b] = [gateways.at(0), gateways.at(1)];
    const [runs, waits] = await makeTwo(a, b);
    const ended = (await create(a)).json.id as string;
    await b.ask('DELETE', `/v1/sandboxes/${ended}`);
    await redis.order('FLUSHALL');
    const client = new Redis(gateways.config.redisUrl ?? '');
    try {
      await expect.poll(() => client.hkeys(KEYS.waiting), NEWS).toEqual([waits]);
      await expect.poll(() => client.hkeys(KEYS.ended), NEWS).toEqual([ended]);
    } finally {
      client.disconnect();
    }
    const next = (await create(a)).json.id as string;
    await expect.poll(() => statusAt(b, next), NEWS).toBe('PENDING');
    await b.ask('DELETE', `/v1/sandboxes/${runs}`);
    await a.until('it runs', () => node.records.get(waits)?.status === 'RUNNING');
  });

  test('a gateway that starts afterwards knows what has ended', async () => {
    await gateways.add();
    const [a, b] = [gateways.at(0), gateways.at(1)];
    const [, waits] = await makeTwo(a, b);
    await b.ask('DELETE', `/v1/sandboxes/${waits}`);
    await loseAll();
    await gateways.redisIs(true);
    await gateways.add();
    await expect.poll(() => statusAt(gateways.at(2), waits), NEWS).toBe('TERMINATED');
  });
});
