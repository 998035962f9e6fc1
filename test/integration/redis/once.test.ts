/** No sandbox lives twice, whatever freezes or arrives late. */
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { Tickets } from '../../../src/gateway/queue/tickets.ts';
import { WaitingList } from '../../../src/gateway/queue/waiting-list.ts';
import { RedisLink } from '../../../src/gateway/redis/link.ts';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import { silent } from '../../../src/lib/logger.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { pendingRecord, type SandboxRecord, type SandboxSpec } from '../../../src/protocol/node.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { until } from '../../helpers/until.ts';
import { create, Gateways, TIMES } from './gateways.ts';

const LIMIT_MS = 60_000;

/** Blocks the event loop: no timer fires, nothing is read, no lock is renewed. */
function standStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

const SPEC: SandboxSpec = {
  id: 'sbx-00000000000000000001',
  tenant: 'default',
  name: null,
  image: 'image',
  cpus: 1,
  memoryMb: 512,
  diskMb: null,
  pidsLimit: 100,
  network: 'off',
  env: {},
  secrets: {},
  labels: {},
  startCommand: null,
  createdAtMs: Date.now(),
  expiresAtMs: Date.now() + 3_600_000,
  idleTimeoutMs: null,
};

describe.skipIf(lackingRedis !== null)('a sandbox lives once', () => {
  let redis: RedisServer;
  let gateways: Gateways | undefined;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    await gateways?.[Symbol.asyncDispose]();
    gateways = undefined;
  });
  afterAll(() => redis?.[Symbol.asyncDispose]());

  const alive = (nodes: readonly FakeNode[], id: string): FakeNode[] =>
    nodes.filter(({ records }) => ['PROVISIONING', 'RUNNING'].includes(records.get(id)?.status ?? ''));

  test('a ticket whose lock has expired belongs to another; its previous holder may send and report nothing', async () => {
    const link = await RedisLink.open({ url: redis.url(15), log: silent });
    await until(() => link.up, LIMIT_MS, 'redis to be there');
    const lockMs = 400;
    const [a, b] = [
      await Tickets.open({ link, log: silent, lockMs }),
      await Tickets.open({ link, log: silent, lockMs }),
    ];
    const waitingList = new WaitingList(link, silent);
    await waitingList.announce({ record: pendingRecord(SPEC), priority: 0, weight: 1 }, 10);
    await a.add({ spec: SPEC, priority: 0 });

    const first = await a.take(SPEC.tenant);
    expect(await first?.claim('node-1')).toBe('granted');
    expect(await b.take(SPEC.tenant)).toBeNull();
    standStill(lockMs);
    expect(first?.holds()).toBe(false);
    let second: Awaited<ReturnType<Tickets['take']>> = null;
    await until(
      async () => {
        await b.recover(SPEC.tenant);
        return (second = await b.take(SPEC.tenant)) !== null;
      },
      LIMIT_MS,
      'the ticket to be free',
    );
    expect(second).toMatchObject({ triedOn: 'node-1' });
    expect(await first?.claim('node-1')).toBe('lost');
    await first?.done();
    expect(await second!.claim('node-2')).toBe('granted');
    await waitingList.end({ ...pendingRecord(SPEC), status: 'TERMINATED', reason: 'deleted', endedAtMs: Date.now() });
    expect(await second!.claim('node-2')).toBe('ended');
    expect(await waitingList.announce({ record: pendingRecord(SPEC), priority: 0, weight: 1 }, 10)).toBe('ended');
    await second!.done();
    await Promise.all([a.close(), b.close()]);
    await link.stop();
  });

  test('a ticket withdrawn before it is taken leaves nothing that waits for ever', async () => {
    const node = new FakeNode();
    node.refuse = new ServiceError('capacity_exhausted');
    gateways = await Gateways.start(redis, 1, [node]);
    const gateway = gateways.at(0);
    // While one waits, tickets of its tenant are taken. The other's job still exists, but no longer waits.
    const { json } = await gateway.ask('POST', '/v1/sandboxes', { body: {} });
    const link = await RedisLink.open({ url: gateways.config.redisUrl ?? '', log: silent });
    await until(() => link.up, LIMIT_MS, 'redis to be there');
    const tickets = await Tickets.open({ link, log: silent, lockMs: TIMES.lockMs });
    await tickets.add({ spec: { ...SPEC, createdAtMs: 0 }, priority: 1 });
    node.refuse = null;
    const statusOf = async (id: string): Promise<unknown> =>
      (await gateway.ask('GET', `/v1/sandboxes/${id}`)).json.status;
    await until(async () => (await statusOf(SPEC.id)) === 'PENDING', LIMIT_MS, 'its ticket to be taken');
    await until(async () => (await statusOf(json.id)) === 'RUNNING', LIMIT_MS, 'the other to run');
    await until(async () => (await statusOf(SPEC.id)) === undefined, LIMIT_MS, 'it to be gone');
    expect(alive([node], SPEC.id)).toEqual([]);
    await tickets.close();
    await link.stop();
  });

  test('a ticket stays with the gateway that takes it, however slowly Redis answers', async () => {
    const link = await RedisLink.open({ url: redis.url(13), log: silent });
    await until(() => link.up, LIMIT_MS, 'redis to be there');
    const lockMs = 2_000;
    const tickets = await Tickets.open({ link, log: silent, lockMs });
    await tickets.add({ spec: SPEC, priority: 0 });
    const get = link.client.get.bind(link.client);
    vi.spyOn(link.client, 'get').mockImplementation(async (key) => {
      const answer = await get(key);
      await new Promise((resolve) => setTimeout(resolve, 1.2 * lockMs));
      return answer;
    });
    const taken = await tickets.take(SPEC.tenant);
    expect(taken?.holds()).toBe(true);
    await taken?.back();
    await tickets.close();
    await link.stop();
  });

  test('a ticket stays with the gateway that has it, however long its node takes to answer', async () => {
    const link = await RedisLink.open({ url: redis.url(14), log: silent });
    await until(() => link.up, LIMIT_MS, 'redis to be there');
    const lockMs = 2_000;
    const [a, b] = [
      await Tickets.open({ link, log: silent, lockMs }),
      await Tickets.open({ link, log: silent, lockMs }),
    ];
    await a.add({ spec: SPEC, priority: 0 });
    const first = await a.take(SPEC.tenant);
    for (const end = performance.now() + 1.6 * lockMs; performance.now() < end;) {
      expect(await b.recover(SPEC.tenant)).toBe(false);
      expect(await b.take(SPEC.tenant)).toBeNull();
      expect(first?.holds()).toBe(true);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await first?.back();
    const second = await b.take(SPEC.tenant);
    expect(second?.ticket.spec.id).toBe(SPEC.id);
    await second?.done();
    await Promise.all([a.close(), b.close()]);
    await link.stop();
  });

  test('a gateway that freezes between its grant and its message sends nothing', async () => {
    const nodes = ['node-a', 'node-b'].map((name) => new FakeNode({ name, report: { maxSandboxes: 1 } }));
    gateways = await Gateways.start(redis, 2, nodes);
    const create = async () => (await gateways?.at(0).ask('POST', '/v1/sandboxes', { body: {} }))?.json.id as string;
    const [first, second] = [await create(), await create()];
    const waits = await create();
    let stalls = 0;
    const evalsha = Redis.prototype.evalsha as (...args: unknown[]) => Promise<unknown>;
    vi.spyOn(Redis.prototype, 'evalsha').mockImplementation(async function (this: Redis, ...args: unknown[]) {
      const answer = await evalsha.apply(this, args);
      if (answer === 'granted' && stalls++ === 0) standStill(TIMES.lockMs);
      return answer;
    } as never);
    await gateways.at(1).ask('DELETE', `/v1/sandboxes/${first}`);
    await gateways.at(1).ask('DELETE', `/v1/sandboxes/${second}`);
    await until(() => alive(nodes, waits).length === 1, LIMIT_MS, 'the sandbox to be placed');
    expect(stalls).toBeGreaterThan(1);
    expect(nodes.flatMap(({ specs }) => specs).filter(({ id }) => id === waits)).toHaveLength(1);
  });

  test('of two nodes that both have it one keeps it, the same for all gateways', async () => {
    const nodes = ['node-a', 'node-b'].map((name) => new FakeNode({ name }));
    const record: SandboxRecord = { ...pendingRecord(SPEC), id: 'sbx-00000000000000000002', status: 'RUNNING' };
    for (const node of nodes) node.records.set(record.id, record);
    // Each hears from a different node first, and takes that for the right one.
    gateways = await Gateways.start(redis, 0, nodes);
    await Promise.all([gateways.add(), gateways.add({ nodes: nodes.toReversed() })]);
    await until(() => alive(nodes, record.id).length === 1, LIMIT_MS, 'one of the two to end');
    const [home] = alive(nodes, record.id);
    for (const gateway of gateways.all) {
      await expect
        .poll(async () => (await gateway.ask('GET', `/v1/sandboxes/${record.id}`)).json)
        .toMatchObject({ status: 'RUNNING', node: home?.name });
    }
    expect(nodes.flatMap(({ deleted }) => deleted.map(({ id }) => id))).not.toHaveLength(0);
    expect(home?.deleted).toEqual([]);
  });

  test('a delete wins over a placement in progress at another gateway', async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 2, [node]);
    const [a, b] = [gateways.at(0), gateways.at(1)];
    const first = (await a.ask('POST', '/v1/sandboxes', { body: {} })).json.id as string;
    const waits = (await a.ask('POST', '/v1/sandboxes', { body: {} })).json.id as string;
    let claims = 0;
    const evalsha = Redis.prototype.evalsha as (...args: unknown[]) => Promise<unknown>;
    vi.spyOn(Redis.prototype, 'evalsha').mockImplementation(async function (this: Redis, ...args: unknown[]) {
      const answer = await evalsha.apply(this, args);
      // It was granted, and is deleted before it is used.
      if (answer === 'granted' && claims++ === 0) {
        await Promise.all([a, b].map((gateway) => gateway.ask('DELETE', `/v1/sandboxes/${waits}`)));
      }
      return answer;
    } as never);
    await b.ask('DELETE', `/v1/sandboxes/${first}`);
    await until(() => claims > 0, LIMIT_MS, 'the ticket to be claimed');
    for (const gateway of [a, b]) {
      await expect
        .poll(async () => (await gateway.ask('GET', `/v1/sandboxes/${waits}`)).json.status)
        .toBe('TERMINATED');
    }
    await until(() => alive([node], waits).length === 0, LIMIT_MS, 'nothing of it to be alive');
    expect((await a.ask('POST', '/v1/sandboxes?waitMs=20000', { body: {} })).json.status).toBe('RUNNING');
  });

  test("nothing is left of a dead gateway's ticket once its sandbox is deleted", async () => {
    const node = new FakeNode({ report: { maxSandboxes: 1 } });
    gateways = await Gateways.start(redis, 1, [node]);
    const gateway = gateways.at(0);
    await gateway.sandbox();
    const { id } = (await create(gateway)).json as { id: string };
    const url = gateways.config.redisUrl ?? '';
    const link = await RedisLink.open({ url, log: silent });
    await until(() => link.up, LIMIT_MS, 'redis to be there');
    const dead = await Tickets.open({ link, log: silent, lockMs: 2_000 });
    expect((await dead.take('default'))?.ticket.spec.id).toBe(id);
    await dead.close();
    await gateway.ask('DELETE', `/v1/sandboxes/${id}`);
    await expect.poll(() => link.client.keys(`*${id}`), { timeout: LIMIT_MS }).toEqual([]);
    await link.stop();
  });
});
