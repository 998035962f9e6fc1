/** A gateway is killed while it places queued creates: others continue within seconds, and nothing is placed twice. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import type { MuxStream } from '../../../src/mux/index.ts';
import type { SandboxSpec } from '../../../src/protocol/node.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { until } from '../../helpers/until.ts';
import { Gateways } from './gateways.ts';
import { KillableGateway } from './killable.ts';

/** Bounds a hang. The ticket of a dead gateway is free after about five seconds. */
const LIMIT_MS = 30_000;

describe.skipIf(lackingRedis !== null)('a gateway that is killed while it places', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(() => redis?.[Symbol.asyncDispose]());

  const alive = (nodes: readonly FakeNode[], id: string): string[] =>
    nodes
      .filter(({ records }) => ['PROVISIONING', 'RUNNING'].includes(records.get(id)?.status ?? ''))
      .map(({ name }) => name);

  test('leaves its tickets to others: first to the nodes that it sent them to', { timeout: 4 * LIMIT_MS }, async () => {
    const nodes = ['took', 'did-not', 'spare'].map((name) => new FakeNode({ name, report: { maxSandboxes: 1 } }));
    const [took, didNot, spare] = nodes as [FakeNode, FakeNode, FakeNode];
    spare.setReport({ cordoned: true });
    await using gateways = await Gateways.start(redis, 0, nodes);
    await using doomed = await KillableGateway.start(String(gateways.config.redisUrl), nodes);
    const create = async (): Promise<string> => {
      let id: unknown;
      // At first it may not know its nodes, or Redis, yet.
      await until(async () => (id = (await doomed.ask('POST', '/v1/sandboxes', {})).id) !== undefined, LIMIT_MS, 'one');
      return String(id);
    };
    const first = [await create(), await create()];
    await until(() => first.every((id) => alive(nodes, id).length === 1), LIMIT_MS, 'both nodes to be full');
    const waiting = [await create(), await create()];

    // What it sends now arrives, but it never gets the answer.
    const sent = new Map<FakeNode, { stream: MuxStream; spec: SandboxSpec }>();
    for (const node of [took, didNot]) {
      node.intercept = (stream) => {
        if (stream.request['op'] !== 'create') return undefined;
        sent.set(node, { stream, spec: stream.request['spec'] as SandboxSpec });
        return {};
      };
    }
    for (const id of first) await doomed.ask('DELETE', `/v1/sandboxes/${id}`);
    await until(() => sent.size === 2, LIMIT_MS, 'both to be sent');
    await doomed.kill();
    for (const node of [took, didNot]) node.intercept = null;
    const [onTook, onDidNot] = [sent.get(took)!.spec, sent.get(didNot)!.spec];
    expect([onTook.id, onDidNot.id].toSorted()).toEqual(waiting.toSorted());
    took.make(onTook);
    // Someone else has taken the room by now.
    didNot.room = 0;
    didNot.setReport({ maxSandboxes: 0 });
    spare.setReport({ cordoned: false });

    const other = await gateways.add();
    await until(() => alive(nodes, onDidNot.id).length > 0, LIMIT_MS, 'the ticket of the killed to be placed');
    // The message was in flight all the time.
    didNot.room = 1;
    expect(() => didNot.make(onDidNot)).toThrow('ended');
    expect(alive(nodes, onTook.id)).toEqual(['took']);
    expect(alive(nodes, onDidNot.id)).toEqual(['spare']);
    for (const id of waiting) {
      expect((await other.ask('GET', `/v1/sandboxes/${id}?waitMs=20000`)).json.status).toBe('RUNNING');
    }
    expect(spare.specs.map(({ id }) => id)).toEqual([onDidNot.id]);
    await until(() => other.services.shared.queue.depth === 0, LIMIT_MS, 'nothing to wait');
  });
});
