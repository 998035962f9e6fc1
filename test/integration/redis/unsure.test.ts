/** A gateway that is cut off from a node does not deny what other gateways created there. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { Gateways } from './gateways.ts';

describe.skipIf(lackingRedis !== null)('a gateway that is cut off from a node', () => {
  let redis: RedisServer;
  let gateways: Gateways;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(async () => {
    await gateways?.[Symbol.asyncDispose]();
    await redis[Symbol.asyncDispose]();
  });

  test('never says that a sandbox made there since does not exist, also once the node is lost for it', async () => {
    gateways = await Gateways.start(redis, 1, [new FakeNode()]);
    const cutOff = await gateways.add({ config: { nodeGraceMs: 20 } });
    await cutOff.services.registry.all[0]?.link?.stop();
    await cutOff.until('the node is lost', () => cutOff.services.nodes.list()[0]?.state === 'lost');
    const id = await gateways.at(0).sandbox();
    for (const answer of [await cutOff.ask('GET', `/v1/sandboxes/${id}`), await cutOff.exec(id, 'true')]) {
      expect(answer.status).toBe(503);
      expect(answer.json.error).toMatchObject({ code: 'node_unavailable', retryable: true });
    }
    expect((await gateways.at(0).exec(id, { stdout: 'here' })).json.stdout).toBe('here');
  });
});
