/** Three gateways, two nodes, one Redis: as processes, with real sandboxes. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Millibox } from '../../src/sdk/index.ts';
import { lackingRedis, RedisServer } from '../helpers/redis.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { until } from '../helpers/until.ts';

const LIMIT_MS = 300_000;
/** Per node: any more must wait. */
const ROOM = 3;
const LABELS = { test: 'gateways' };
const SMALL = { memoryMb: 64, labels: LABELS };

describe.skipIf(lackingRedis !== null)('several gateways', () => {
  let redis: RedisServer;
  let stack: TestStack;
  let clients: Millibox[];
  beforeAll(async () => {
    redis = await RedisServer.start();
    stack = await startStack({
      gateways: 3,
      agents: 2,
      agentEnv: { MILLIBOX_MAX_SANDBOXES: String(ROOM) },
      gatewayEnv: { MILLIBOX_REDIS_URL: redis.url() },
    });
    clients = stack.urls.map((url) => new Millibox({ url, apiKey: stack.apiKey }));
  }, LIMIT_MS);
  afterAll(async () => {
    await Promise.all((clients ?? []).map((client) => client.close()));
    await stack?.stop();
    await redis?.[Symbol.asyncDispose]();
  }, LIMIT_MS);

  const at = (index: number): Millibox => clients[index] as Millibox;
  /** Sandboxes that take up all the room, created through all gateways. */
  const fill = () =>
    Promise.all(
      Array.from({ length: 2 * ROOM }, async (_, i) => {
        const sandbox = await at(i % 3).sandboxes.create(SMALL);
        await sandbox.ready();
        return sandbox;
      }),
    );
  const idsOf = async (status: 'PENDING' | 'RUNNING'): Promise<string[]> => {
    const ids: string[] = [];
    for await (const { id } of at(1).sandboxes.list({ labels: LABELS, status })) ids.push(id);
    return ids;
  };
  const statusAt = async (gateway: number, id: string): Promise<string> =>
    (await at(gateway).sandboxes.get(id)).info.status;
  /** Ends them all, and waits until their places are free again. */
  const clear = async (): Promise<void> => {
    await at(1).sandboxes.deleteByLabel(LABELS);
    await until(
      async () => (await stack.operatorOf(1).nodes()).every(({ sandboxes }) => sandboxes === 0),
      LIMIT_MS,
      'the nodes to be empty',
    );
  };

  test('a sandbox created by one gateway is served by another at once', { timeout: LIMIT_MS }, async () => {
    for (let i = 0; i < 4; i++) {
      const made = await at(0).sandboxes.create(SMALL);
      const elsewhere = await at(1 + (i % 2)).sandboxes.get(made.id);
      expect((await elsewhere.exec('echo here')).stdout).toBe('here\n');
      await elsewhere.delete();
      await expect.poll(async () => (await made.refresh()).status).toBe('TERMINATED');
    }
    await clear();
  });

  test('a killed gateway leaves its tickets to others, which place each once', { timeout: LIMIT_MS }, async () => {
    const first = await fill();
    const waiting = await Promise.all([0, 0, 0, 1].map((gateway) => at(gateway).sandboxes.create(SMALL)));
    for (const { id } of waiting) expect(await statusAt(2, id)).toBe('PENDING');
    // Commands wait at gateways that did not admit the sandbox.
    const commands = waiting.map(async ({ id }) => (await at(2).sandboxes.get(id)).exec('echo late'));
    await stack.killGateway('SIGKILL', 0);
    for (const { id } of first) await (await at(1).sandboxes.get(id)).delete();
    for (const command of commands) expect((await command).stdout).toBe('late\n');
    expect((await idsOf('RUNNING')).toSorted()).toEqual(waiting.map(({ id }) => id).toSorted());
    stack.restartGateway(0);
    await stack.gatewayReady(0);
    for (const { id } of waiting) expect(await statusAt(0, id)).toBe('RUNNING');
    await clear();
  });

  test('Redis goes and comes back during creates; nothing is lost or duplicated', { timeout: LIMIT_MS }, async () => {
    const first = await fill();
    const waits = await at(0).sandboxes.create(SMALL);
    await redis.kill();
    await first[0]?.delete();
    const [busy] = first.slice(1);
    expect((await busy?.exec('echo on'))?.stdout).toBe('on\n');
    await redis.restart();
    expect((await (await at(2).sandboxes.get(waits.id)).exec('echo late')).stdout).toBe('late\n');
    await clear();
  });

  test('a gateway that drains exits, and its tickets and clients move to others', { timeout: LIMIT_MS }, async () => {
    const first = await fill();
    const waits = await at(2).sandboxes.create(SMALL);
    const command = (await at(1).sandboxes.get(waits.id)).exec('echo late');
    await stack.killGateway('SIGTERM', 2);
    await first[0]?.delete();
    expect((await command).stdout).toBe('late\n');
    stack.restartGateway(2);
    await stack.gatewayReady(2);
    await clear();
  });

  test('the Redis password is in no log', () => {
    expect(stack.logs()).not.toContain(new URL(redis.url()).password);
  });
});
