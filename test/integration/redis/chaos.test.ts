/** Everything breaks in turn during creates and deletes, in an order determined by a seed. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import type { TestGateway } from '../../../src/gateway/testing/harness.ts';
import { amount } from '../../helpers/config.ts';
import { random } from '../../helpers/random.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { until } from '../../helpers/until.ts';
import { Gateways } from './gateways.ts';

const LIMIT_MS = 90_000;
const STEPS = 250;
const ALIVE = new Set(['PROVISIONING', 'RUNNING']);
/** Errors that callers may see while things break; each says whether to retry. */
const TYPED = new Set(['capacity_exhausted', 'node_unavailable', 'interrupted', 'draining', 'deadline_exceeded']);

async function livingAt(gateway: TestGateway): Promise<unknown[]> {
  const { json } = await gateway.ask('GET', '/v1/sandboxes?limit=1000');
  return json.sandboxes.filter(({ status }: { status: string }) => status === 'PENDING' || ALIVE.has(status));
}

describe.skipIf(lackingRedis !== null)('chaos', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(() => redis?.[Symbol.asyncDispose]());

  test('no sandbox lives twice or for ever, and every failure is typed', { timeout: LIMIT_MS * 2 }, async () => {
    const seed = amount('MILLIBOX_TEST_SEED', 7);
    const { between } = random(seed);
    const below = (n: number): number => between(0, n - 1);
    const nodes = ['node-a', 'node-b', 'node-c'].map((name) => new FakeNode({ name, report: { maxSandboxes: 4 } }));
    await using gateways = await Gateways.start(redis, 3, nodes);
    const made = new Set<string>();
    const twice = new Set<string>();
    const unnamed: unknown[] = [];
    const calls = new Set<Promise<void>>();
    const watch = setInterval(() => {
      const seen = new Set<string>();
      for (const { records } of nodes) {
        for (const { id, status } of records.values()) {
          if (ALIVE.has(status) && seen.has(id)) twice.add(id);
          if (ALIVE.has(status)) seen.add(id);
        }
      }
    }, 5);
    const ask = (method: string, path: string, asking: object = {}): void => {
      const call = gateways.all[below(gateways.all.length)]?.ask(method, path, asking).then(
        ({ json }) => {
          if (json?.error !== undefined && !TYPED.has(json.error.code)) unnamed.push(json.error);
          if (method === 'POST' && json?.id !== undefined) made.add(json.id as string);
        },
        // The gateway was ended during the call.
        () => undefined,
      );
      if (call === undefined) return;
      calls.add(call);
      void call.finally(() => calls.delete(call));
    };
    const actions: [weight: number, act: () => unknown][] = [
      [40, () => ask('POST', '/v1/sandboxes', { body: {} })],
      [20, () => ask('POST', '/v1/sandboxes', { body: {}, headers: { 'idempotency-key': `key-${below(40)}` } })],
      [40, () => made.size > 0 && ask('DELETE', `/v1/sandboxes/${[...made][below(made.size)]}`)],
      [4, () => nodes[below(3)]?.cut()],
      [1, () => redis.freeze()],
      [2, () => redis.thaw()],
      [1, () => redis.kill().then(() => redis.restart())],
      [1, () => gateways.replace(below(3))],
    ];
    const total = actions.reduce((sum, [weight]) => sum + weight, 0);
    for (let step = 0; step < STEPS; step++) {
      let at = below(total);
      const [, act] = actions.find(([weight]) => (at -= weight) < 0) ?? [];
      await act?.();
      await new Promise((resolve) => setTimeout(resolve, below(20)));
    }

    redis.thaw();
    await gateways.redisIs(true);
    await Promise.all(calls);
    const deleteAll = async (): Promise<boolean> => {
      for (const { records } of nodes) {
        for (const { id, status } of records.values()) {
          if (ALIVE.has(status)) await gateways.at(0).ask('DELETE', `/v1/sandboxes/${id}`);
        }
      }
      const { json } = await gateways.at(1).ask('GET', '/v1/sandboxes?status=PENDING');
      for (const { id } of json.sandboxes) await gateways.at(2).ask('DELETE', `/v1/sandboxes/${id}`);
      const alive = nodes.flatMap(({ records }) => [...records.values()]).filter(({ status }) => ALIVE.has(status));
      const depth = gateways.all.map(({ services }) => services.shared.queue.depth);
      return alive.length === 0 && json.sandboxes.length === 0 && Math.max(...depth) === 0;
    };
    await until(deleteAll, LIMIT_MS, `everything to end (seed ${seed})`);
    clearInterval(watch);
    expect({ seed, twice: [...twice], unnamed }).toEqual({ seed, twice: [], unnamed: [] });
    // A gateway that missed a message while Redis was away finds out a little later.
    for (const gateway of gateways.all) await expect.poll(() => livingAt(gateway), { timeout: LIMIT_MS }).toEqual([]);
  });
});
