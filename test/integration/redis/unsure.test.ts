/** A gateway cut off from a node or from Redis does not deny what other gateways created, and says why. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { create, Gateways } from './gateways.ts';

describe.skipIf(lackingRedis !== null)('a gateway that is cut off', () => {
  let redis: RedisServer;
  let gateways: Gateways;
  beforeEach(async () => {
    redis = await RedisServer.start();
  });
  afterEach(async () => {
    await gateways?.[Symbol.asyncDispose]();
    await redis[Symbol.asyncDispose]();
  });

  test('from a node never says that a sandbox created there since does not exist, even once it considers the node lost', async () => {
    gateways = await Gateways.start(redis, 1, [new FakeNode()]);
    const cutOff = await gateways.add({ config: { nodeGraceMs: 20 } });
    await cutOff.services.registry.all[0]?.link?.stop();
    await cutOff.until('the node is lost', () => cutOff.services.nodes.list()[0]?.state === 'lost');
    const id = await gateways.at(0).sandbox();
    for (const answer of [await cutOff.ask('GET', `/v1/sandboxes/${id}`), await cutOff.exec(id, 'true')]) {
      expect(answer.status).toBe(503);
      expect(answer.json.error).toMatchObject({ code: 'node_unavailable', retryable: true });
      expect(answer.json.error.message).toMatch(/one of its nodes/);
    }
    expect((await gateways.at(0).exec(id, { stdout: 'here' })).json.stdout).toBe('here');
  });

  test('or has more calls for unknown sandboxes than it lets wait denies none of those sandboxes', async () => {
    gateways = await Gateways.start(redis, 1, [new FakeNode()]);
    const gateway = gateways.at(0);
    const { unknownIds } = gateway.services;
    const asked = Array.from({ length: 1_000 }, (_, i) => unknownIds.wait(`sbx-made-up-${i}`));
    const unsure = await gateway.ask('GET', '/v1/sandboxes/sbx-00000000000000000000');
    expect([unsure.status, unsure.headers['retry-after']]).toEqual([503, '1']);
    expect(unsure.json.error).toMatchObject({ code: 'node_unavailable', retryable: true });
    await Promise.all(asked);
    expect((await gateway.ask('GET', '/v1/sandboxes/sbx-00000000000000000000')).json.error.code).toBe(
      'sandbox_not_found',
    );
  });

  test('from Redis reports that, for an unknown id and for a create that would have to be queued', async () => {
    gateways = await Gateways.start(redis, 1, [new FakeNode({ report: { maxSandboxes: 1 } })]);
    const gateway = gateways.at(0);
    await gateway.sandbox();
    await redis.kill();
    await gateways.redisIs(false);
    const answers = [
      ['node_unavailable', await gateway.ask('GET', '/v1/sandboxes/sbx-00000000000000000000')],
      ['capacity_exhausted', await create(gateway)],
    ] as const;
    for (const [code, answer] of answers) {
      expect(answer.status).toBe(503);
      expect(answer.headers['retry-after']).toBe('1');
      expect(answer.json.error).toMatchObject({ code, retryable: true, retryAfterMs: 1_000 });
      expect(answer.json.error.message).toMatch(/Redis/);
    }
  });
});
