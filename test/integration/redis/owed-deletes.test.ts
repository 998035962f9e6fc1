/** Deletes whose node is away: every gateway knows of them, those that start later included. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import type { Answer, TestGateway } from '../../../src/gateway/testing/harness.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { Gateways } from './gateways.ts';

const NEWS = { timeout: 20_000 };

describe.skipIf(lackingRedis !== null)('a delete that a node cannot be told of', () => {
  let redis: RedisServer;
  let gateways: Gateways;
  beforeEach(async () => {
    redis = await RedisServer.start();
  });
  afterEach(async () => {
    await gateways?.[Symbol.asyncDispose]();
    await redis[Symbol.asyncDispose]();
  });

  const shownAt = async (gateway: TestGateway, id: string): Promise<Answer['json']> =>
    (await gateway.ask('GET', `/v1/sandboxes/${id}`)).json;

  test.each([
    ['away', 60_000],
    ['lost', 20],
  ])('because it is %s is kept for it, even if the gateway that answered is gone', async (state, nodeGraceMs) => {
    const node = new FakeNode();
    gateways = await Gateways.start(redis, 1, [node], { nodeGraceMs });
    const [deleted, kept] = [await gateways.at(0).sandbox(), await gateways.at(0).sandbox()];
    node.vanish();
    await gateways.at(0).until(`it is ${state}`, () => gateways.at(0).services.nodes.list()[0]?.state === state);
    await gateways.at(0).ask('DELETE', `/v1/sandboxes/${deleted}`);
    await gateways.replace(0);
    const next = gateways.at(0);
    await expect.poll(() => shownAt(next, deleted), NEWS).toMatchObject({ status: 'TERMINATED', reason: 'deleted' });
    node.offline = false;
    await next.until('it is gone from the node', () => node.records.get(deleted)?.status === 'TERMINATED');
    expect(node.deleted).toEqual([{ id: deleted, reason: 'deleted' }]);
    expect(await shownAt(next, deleted)).toMatchObject({ status: 'TERMINATED', reason: 'deleted' });
    expect(await shownAt(next, kept)).toMatchObject({ status: 'RUNNING' });
  });

  test('is carried out by a gateway that reaches it', async () => {
    const node = new FakeNode();
    gateways = await Gateways.start(redis, 1, [node]);
    const cutOff = await gateways.add();
    const [one, many] = [await gateways.at(0).sandbox(), await gateways.at(0).sandbox({ labels: { job: '1' } })];
    for (const id of [one, many]) await expect.poll(() => shownAt(cutOff, id)).toMatchObject({ status: 'RUNNING' });
    await cutOff.services.registry.all[0]?.link?.stop();
    await cutOff.until('the node is away', () => cutOff.services.nodes.list()[0]?.state === 'away');
    await cutOff.ask('DELETE', `/v1/sandboxes/${one}`);
    await cutOff.ask('DELETE', '/v1/sandboxes?label=job=1');
    for (const id of [one, many]) {
      await expect.poll(() => shownAt(gateways.at(0), id), NEWS).toMatchObject({ status: 'TERMINATED' });
      await expect.poll(() => node.records.get(id)?.status, NEWS).toBe('TERMINATED');
    }
  });

  test('is carried out as soon as Redis tells of it, by a gateway that learnt of the sandbox from the node before that', async () => {
    const node = new FakeNode();
    gateways = await Gateways.start(redis, 1, [node]);
    const id = await gateways.at(0).sandbox();
    node.vanish();
    await gateways.at(0).until('it is away', () => gateways.at(0).services.nodes.list()[0]?.state === 'away');
    await gateways.at(0).ask('DELETE', `/v1/sandboxes/${id}`);
    await redis.kill();
    await gateways.replace(0);
    const late = gateways.at(0);
    node.offline = false;
    await expect.poll(() => shownAt(late, id), NEWS).toMatchObject({ status: 'RUNNING' });
    await redis.restart();
    await expect.poll(() => shownAt(late, id), NEWS).toMatchObject({ status: 'TERMINATED', reason: 'deleted' });
    await expect.poll(() => node.records.get(id)?.status, NEWS).toBe('TERMINATED');
  });
});
