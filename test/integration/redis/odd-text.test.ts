/**
 * Names and labels are any text. Half a character can be written in JSON only as an escape, which the JSON reader of
 * Redis's scripts refuses: what they do with a queued sandbox must not depend on it.
 */
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { KEYS } from '../../../src/gateway/redis/keys.ts';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { create, Gateways } from './gateways.ts';

const ODD = { name: '\ud800', labels: { '\udfff': 'C:\\ud800\\"', 'a\0b': '\ud83d\ud83d' } };
const NEWS = { timeout: 20_000 };

describe.skipIf(lackingRedis !== null)('a queued sandbox with half a character in its name', () => {
  let redis: RedisServer;
  let gateways: Gateways;
  let client: Redis;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterEach(async () => {
    client.disconnect();
    await gateways[Symbol.asyncDispose]();
  });
  afterAll(() => redis?.[Symbol.asyncDispose]());

  /** Two gateways over a node that has room for one sandbox, and has it. @returns its id */
  const start = async (queueMax = 100): Promise<string> => {
    gateways = await Gateways.start(redis, 2, [new FakeNode({ report: { maxSandboxes: 1 } })], { queueMax });
    client = new Redis(gateways.config.redisUrl ?? '');
    return (await create(gateways.at(0))).json.id as string;
  };
  const places = (): Promise<Record<string, string>> => client.hgetall(KEYS.places);
  const depths = (): number[] => gateways.all.map(({ services }) => services.shared.queue.depth);

  test('gives its place back when it is deleted, and when a node has it', async () => {
    const first = await start();
    const [deleted, placed, last] = [
      (await create(gateways.at(0), 'a', ODD)).json.id as string,
      (await create(gateways.at(1), 'b', ODD)).json.id as string,
      (await create(gateways.at(1), 'c', ODD)).json.id as string,
    ];
    expect(await places()).toEqual({ default: '3' });
    await gateways.at(1).ask('DELETE', `/v1/sandboxes/${deleted}`);
    await expect.poll(depths, NEWS).toEqual([2, 2]);
    expect(await places()).toEqual({ default: '2' });
    await gateways.at(0).ask('DELETE', `/v1/sandboxes/${first}`);
    const shown = await gateways.at(0).ask('GET', `/v1/sandboxes/${placed}?waitMs=20000`);
    expect(shown.json).toMatchObject({ status: 'RUNNING', ...ODD });
    await expect.poll(depths, NEWS).toEqual([1, 1]);
    await expect.poll(places, NEWS).toEqual({ default: '1' });
    expect((await gateways.at(0).ask('GET', `/v1/sandboxes/${last}`)).json).toMatchObject({ queuePosition: 0, ...ODD });
  });

  test('is withdrawn when the rest of its create is refused', async () => {
    await start(2);
    const refused = await create(gateways.at(0), 'key', { ...ODD, count: 4 });
    expect(refused.json.error).toMatchObject({ code: 'capacity_exhausted' });
    await expect.poll(depths, NEWS).toEqual([0, 0]);
    expect(await client.hlen(KEYS.waiting)).toBe(0);
    expect(await places()).toEqual({});
    // Its key is free.
    expect((await create(gateways.at(1), 'key', { ...ODD, count: 2 })).status).toBe(201);
  });
});
