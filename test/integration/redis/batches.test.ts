/** Many sandboxes in one create, of which only some have room, over two gateways that share a Redis. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import type { Answer } from '../../../src/gateway/testing/harness.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { until } from '../../helpers/until.ts';
import { Gateways } from './gateways.ts';

const LIMIT_MS = 30_000;
const ROOM = 10;

interface Made {
  id: string;
  queuePosition?: number;
}

describe.skipIf(lackingRedis !== null)('a batch larger than the room there is', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(() => redis?.[Symbol.asyncDispose]());

  const nodeWithRoom = (): FakeNode => new FakeNode({ report: { maxSandboxes: ROOM } });
  const running = ({ records }: FakeNode): number =>
    [...records.values()].filter(({ status }) => status === 'RUNNING').length;

  test('is sent in one message as far as it fits; the rest is queued, and either gateway shows and ends it', async () => {
    const node = nodeWithRoom();
    await using gateways = await Gateways.start(redis, 2, [node]);
    const [one, two] = [gateways.at(0), gateways.at(1)];
    const made = (await one.ask('POST', '/v1/sandboxes', { body: { count: 25 } })).json.sandboxes as Made[];
    const numbers = Array.from({ length: 15 }, (_, i) => i);
    const positions = (all: Made[]): number[] => all.flatMap((each) => each.queuePosition ?? []).sort((a, b) => a - b);
    expect(positions(made)).toEqual(numbers);
    expect([node.opened.get('createMany'), node.opened.get('create') ?? 0]).toEqual([1, 0]);
    const listed = async (): Promise<Made[]> => (await two.ask('GET', '/v1/sandboxes?limit=1000')).json.sandboxes;
    await until(async () => positions(await listed()).length === 15, LIMIT_MS, 'the other to hear of all');
    expect(positions(await listed())).toEqual(numbers);
    for (const [i, { id }] of made.entries()) {
      const gateway = i % 2 === 0 ? one : two;
      expect((await gateway.ask('GET', `/v1/sandboxes/${id}?waitMs=20000`)).json.status).toBe('RUNNING');
      await gateway.ask('DELETE', `/v1/sandboxes/${id}`);
    }
    expect(node.specs.map(({ id }) => id).toSorted()).toEqual(made.map(({ id }) => id).toSorted());
  });

  test('is refused as a whole if places are too few, and its key is free at both', async () => {
    const node = nodeWithRoom();
    await using gateways = await Gateways.start(redis, 2, [node], { queueMax: 5 });
    const [one, two] = [gateways.at(0), gateways.at(1)];
    const ask = (gateway: typeof one, count: number): Promise<Answer> =>
      gateway.ask('POST', '/v1/sandboxes', { body: { count }, headers: { 'idempotency-key': `of-${count}` } });
    for (const gateway of [one, two]) {
      const refused = await ask(gateway, 20);
      expect([refused.status, refused.headers['retry-after']]).toEqual([503, '1']);
      expect(refused.json.error).toMatchObject({ code: 'capacity_exhausted', retryable: true });
      const left = (): number => running(node) + one.services.shared.queue.depth + two.services.shared.queue.depth;
      await until(() => left() === 0, LIMIT_MS, 'nothing of it to be left');
    }
    const first = await ask(one, 15);
    expect(first.status).toBe(201);
    const again = await ask(two, 15);
    const idsOf = ({ json }: Answer): string[] => (json.sandboxes as Made[]).map(({ id }) => id);
    expect(idsOf(again)).toEqual(idsOf(first));
    await until(() => running(node) === ROOM, LIMIT_MS, 'as many to run as fit');
    expect(one.services.shared.queue.depth).toBe(5);
  });
});
