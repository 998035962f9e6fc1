import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import type { TestGateway } from '../../../src/gateway/testing/harness.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { Gateways } from './gateways.ts';

describe.skipIf(lackingRedis !== null)('the queue of several gateways', () => {
  let redis: RedisServer;
  let gateways: Gateways;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterEach(() => gateways?.[Symbol.asyncDispose]());
  afterAll(() => redis?.[Symbol.asyncDispose]());

  const create = async (gateway: TestGateway, body: object = {}): Promise<string> => {
    const answer = await gateway.ask('POST', '/v1/sandboxes', { body });
    expect(answer.status).toBe(201);
    return answer.json.id as string;
  };
  const statusAt = async (gateway: TestGateway, id: string): Promise<string> =>
    (await gateway.ask('GET', `/v1/sandboxes/${id}`)).json.status as string;
  /** The nodes on which the sandbox is alive. */
  const homes = (id: string): FakeNode[] =>
    gateways.nodes.filter(({ records }) => ['PROVISIONING', 'RUNNING'].includes(records.get(id)?.status ?? ''));

  test('a create that fits goes to a node, and every gateway knows it at once', async () => {
    gateways = await Gateways.start(redis, 2, [new FakeNode()]);
    for (let i = 0; i < 20; i++) {
      const id = await create(gateways.at(i % 2));
      expect(await statusAt(gateways.at((i + 1) % 2), id)).toMatch(/PROVISIONING|RUNNING/);
    }
  });

  test('a create that fits, and what runs in it, needs no Redis', async () => {
    gateways = await Gateways.start(redis, 2, [new FakeNode()]);
    const scripts = vi.spyOn(Redis.prototype, 'evalsha');
    const plain = vi.spyOn(Redis.prototype, 'get');
    const id = await create(gateways.at(0));
    expect((await gateways.at(1).exec(id, {})).status).toBe(200);
    await gateways.at(1).ask('DELETE', `/v1/sandboxes/${id}`);
    const sent = [...scripts.mock.calls, ...plain.mock.calls].map((args) => JSON.stringify(args));
    vi.restoreAllMocks();
    expect(sent.filter((text) => text.includes(id))).toEqual([]);
  });

  test('a queued create is seen, awaited and deleted at any gateway', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 2, [node]);
    const first = await create(gateways.at(0));
    const [second, third] = [await create(gateways.at(0)), await create(gateways.at(1))];
    expect(await statusAt(gateways.at(1), second)).toBe('PENDING');
    expect(await statusAt(gateways.at(0), third)).toBe('PENDING');
    const { json } = await gateways.at(0).ask('GET', `/v1/sandboxes/${third}`);
    expect(json.queuePosition).toBe(1);

    const exec = gateways.at(1).exec(second, { stdout: 'late' });
    expect((await gateways.at(0).ask('DELETE', `/v1/sandboxes/${third}`)).json.status).toBe('TERMINATED');
    await gateways.at(1).until('the delete is known', () => true);
    await expect.poll(() => statusAt(gateways.at(1), third)).toBe('TERMINATED');
    await gateways.at(1).ask('DELETE', `/v1/sandboxes/${first}`);
    expect((await exec).status).toBe(200);
    expect(node.specs.filter(({ id }) => id === second)).toHaveLength(1);
    expect(node.specs.filter(({ id }) => id === third)).toHaveLength(0);
  });

  test('tickets of all gateways are placed once each, tenants in turn', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 3, [node]);
    let current = await create(gateways.at(0));
    const waiting = new Set<string>();
    for (let i = 0; i < 12; i++) waiting.add(await create(gateways.at(i % 3)));
    while (waiting.size > 0) {
      await gateways.at(0).ask('DELETE', `/v1/sandboxes/${current}`);
      await gateways.at(0).until('the next runs', () => [...waiting].some((id) => homes(id).length === 1));
      current = [...waiting].find((id) => homes(id).length === 1) ?? '';
      waiting.delete(current);
    }
    const ids = node.specs.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test('a gateway that exits leaves its tickets to the others', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 2, [node]);
    const first = await create(gateways.at(1));
    const ids = [await create(gateways.at(0)), await create(gateways.at(0))];
    await gateways.at(0)[Symbol.asyncDispose]();
    gateways.all.shift();
    await gateways.at(0).ask('DELETE', `/v1/sandboxes/${first}`);
    const [second, third] = ids as [string, string];
    await gateways.at(0).until('the second runs', () => homes(second).length === 1);
    await gateways.at(0).ask('DELETE', `/v1/sandboxes/${second}`);
    await gateways.at(0).until('the third runs', () => homes(third).length === 1);
  });

  test('a gateway that starts knows what is queued and what ended while queued', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 1, [node]);
    await create(gateways.at(0));
    const [waits, ended] = [await create(gateways.at(0)), await create(gateways.at(0))];
    await gateways.at(0).ask('DELETE', `/v1/sandboxes/${ended}`);
    const late = await gateways.add();
    await expect.poll(() => statusAt(late, waits)).toBe('PENDING');
    expect(await statusAt(late, ended)).toBe('TERMINATED');
  });

  test('the queue is bounded across all gateways', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 2, [node], { queueMax: 2 });
    await create(gateways.at(0));
    await create(gateways.at(0));
    await create(gateways.at(1));
    const answer = await gateways.at(0).ask('POST', '/v1/sandboxes', { body: {} });
    expect(answer.status).toBe(503);
    expect(answer.json.error).toMatchObject({ code: 'capacity_exhausted', retryable: true, retryAfterMs: 1_000 });
    expect(answer.headers['retry-after']).toBeDefined();
  });

  test('a create queued for too long ends, even if the gateway that admitted it is gone', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 2, [node], { queueWaitMs: 1_000 });
    await create(gateways.at(0));
    const waits = await create(gateways.at(0));
    await gateways.at(0)[Symbol.asyncDispose]();
    gateways.all.shift();
    await expect.poll(() => statusAt(gateways.at(0), waits), { timeout: 30_000 }).toBe('ERROR');
    const { json } = await gateways.at(0).ask('GET', `/v1/sandboxes/${waits}`);
    expect(json).toMatchObject({ reason: 'start_failed' });
    expect(node.specs.some(({ id }) => id === waits)).toBe(false);
  });
});
