/**
 * Gateways whose wall clocks are hours apart: a sandbox admitted by one and placed by another lives as long as it
 * should, and so do tokens.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULT_PRIME_CONFIG } from '../../../src/gateway/doors/prime/config.ts';
import { Tokens } from '../../../src/gateway/doors/prime/tokens.ts';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import { TEST_CONFIG } from '../../../src/gateway/testing/harness.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { until } from '../../helpers/until.ts';
import { Gateways } from './gateways.ts';
import { KillableGateway } from './killable.ts';

const LIMIT_MS = 60_000;
const HOUR_MS = 3_600_000;
const SLACK_MS = 60_000;

describe.skipIf(lackingRedis !== null)('gateways whose clocks differ', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(() => redis?.[Symbol.asyncDispose]());

  for (const clockMs of [3 * HOUR_MS, -3 * HOUR_MS]) {
    test(`by ${clockMs / HOUR_MS} hours`, { timeout: 3 * LIMIT_MS }, async () => {
      const node = new FakeNode({ report: { maxSandboxes: 1 } });
      await using gateways = await Gateways.start(redis, 1, [node], { queueWaitMs: HOUR_MS });
      await using off = await KillableGateway.start(String(gateways.config.redisUrl), [node], { clockMs });
      const right = gateways.at(0);
      const first = await right.sandbox();
      let waits: unknown;
      const request = { timeoutMs: HOUR_MS };
      await until(
        async () => (waits = (await off.ask('POST', '/v1/sandboxes', request)).id) !== undefined,
        LIMIT_MS,
        'it to be let in',
      );
      // The leader looks for creates that have waited too long.
      await until(() => right.services.shared.leader.leading, LIMIT_MS, 'the right one to lead');
      const look = async (): Promise<string> =>
        (await right.ask('GET', `/v1/sandboxes/${waits as string}`)).json.status;
      expect(await look()).toBe('PENDING');
      // A token from one opens a port at the other, for as long as requested.
      const preview = { port: 3000, expiresInMs: HOUR_MS };
      const { token } = await off.ask('POST', `/v1/sandboxes/${first}/previews`, preview);
      const target = { sandbox: first, port: 3000 };
      const leftMs = right.services.ports.tokens.check(token as string, target).expiresAtMs - Date.now();
      expect(Math.abs(leftMs - HOUR_MS)).toBeLessThan(SLACK_MS);
      // And so does a token for the Prime data plane.
      const auth = await off.ask('POST', `/api/v1/sandbox/${first}/auth`);
      const primeTokens = new Tokens(TEST_CONFIG.nodeSecret, right.services.ports.tokens.now);
      const claims = primeTokens.check(`Bearer ${auth.token as string}`, first);
      expect(Math.abs(claims.expiresAtMs - Date.now() - DEFAULT_PRIME_CONFIG.tokenTtlMs)).toBeLessThan(SLACK_MS);
      await off.kill();
      await right.ask('DELETE', `/v1/sandboxes/${first}`);
      await until(async () => (await look()) === 'RUNNING', LIMIT_MS, 'it to be placed');
      const spec = node.specs.find(({ id }) => id === waits);
      const lifeMs = (spec?.expiresAtMs ?? 0) - (spec?.sentAtMs ?? 0);
      expect(Math.abs(lifeMs - HOUR_MS)).toBeLessThan(SLACK_MS);
      expect(Math.abs((spec?.createdAtMs ?? 0) - Date.now())).toBeLessThan(SLACK_MS);
    });
  }
});
