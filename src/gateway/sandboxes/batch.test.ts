/** Many sandboxes in one create: one decision for each, one message for each node. */
import { afterEach, expect, test } from 'vitest';
import { ServiceError } from '../../protocol/errors.ts';
import type { CreateGroup } from '../../protocol/node.ts';
import { FakeNode } from '../testing/fake-node.ts';
import { TestGateway } from '../testing/harness.ts';

let gateway: TestGateway;
afterEach(() => gateway[Symbol.asyncDispose]());

const nodesNamed = (...names: string[]): FakeNode[] => names.map((name) => new FakeNode({ name }));
const opened = (node: FakeNode, op: string): number => node.opened.get(op) ?? 0;

async function batch(count: number, body: object = {}, waitMs = 20_000): Promise<{ id: string; status: string }[]> {
  const { status, json } = await gateway.ask('POST', `/v1/sandboxes?waitMs=${waitMs}`, { body: { count, ...body } });
  expect(status).toBe(201);
  return json.sandboxes;
}

test('500 creates in one call go over four nodes in one message each', async () => {
  const nodes = nodesNamed('a', 'b', 'c', 'd');
  gateway = await TestGateway.start(nodes);
  const made = await batch(500, { env: { SHARED: 'x'.repeat(1000) }, labels: { run: '7' } });
  expect(new Set(made.map(({ id }) => id)).size).toBe(500);
  expect(made.every(({ status }) => status === 'RUNNING')).toBe(true);
  expect(nodes.map((node) => [opened(node, 'createMany'), opened(node, 'create')])).toEqual(nodes.map(() => [1, 0]));
  const counts = nodes.map((node) => node.records.size);
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(500);
  // Each decision sees those before it.
  for (const count of counts) expect(count).toBeGreaterThan(60);
  const spec = nodes[0]?.specs.find(({ id }) => id === made.find((one) => nodes[0]?.records.has(one.id))?.id);
  expect(spec).toMatchObject({ env: { SHARED: 'x'.repeat(1000) }, labels: { run: '7' } });
});

test('what is alike crosses the wire once', async () => {
  const [node] = nodesNamed('a') as [FakeNode];
  gateway = await TestGateway.start([node]);
  let groups: CreateGroup[] = [];
  node.intercept = (stream) => {
    if (stream.request['op'] === 'createMany') groups = stream.request['groups'] as CreateGroup[];
    return undefined;
  };
  await batch(200, { env: { BIG: 'x'.repeat(10_000) } });
  expect(groups).toHaveLength(1);
  expect(groups[0]?.ids).toHaveLength(200);
});

test('a spec near the largest takes more messages, and still all arrive', async () => {
  const [node] = nodesNamed('a') as [FakeNode];
  gateway = await TestGateway.start([node]);
  const env = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`E${i}`, 'x'.repeat(130_000)]));
  const made = await batch(300, { env });
  expect(made.every(({ status }) => status === 'RUNNING')).toBe(true);
  expect(opened(node, 'createMany')).toBeGreaterThan(1);
  expect(opened(node, 'createMany')).toBeLessThan(10);
});

test('those that one node refuses go to another', async () => {
  const nodes = nodesNamed('a', 'b') as [FakeNode, FakeNode];
  gateway = await TestGateway.start(nodes);
  nodes[0].room = 5;
  const made = await batch(40);
  expect(made.every(({ status }) => status === 'RUNNING')).toBe(true);
  expect(nodes[0].records.size).toBe(5);
  expect(nodes[1].records.size).toBe(35);
});

test('those that find no room wait in line with their positions, and come up when there is some', async () => {
  const [node] = nodesNamed('a') as [FakeNode];
  gateway = await TestGateway.start([node]);
  node.room = 10;
  const made = await batch(25, {}, 0);
  const { sandboxes } = gateway.services;
  const positions = (): number[] => made.flatMap(({ id }) => sandboxes.queuePosition(id) ?? []).sort((a, b) => a - b);
  await gateway.until('15 wait', () => positions().length === 15);
  expect(positions()).toEqual(Array.from({ length: 15 }, (_, i) => i));
  const listed = (await gateway.ask('GET', '/v1/sandboxes?limit=1000')).json.sandboxes as { queuePosition?: number }[];
  expect(listed.filter(({ queuePosition }) => queuePosition !== undefined).length).toBeGreaterThan(0);
  node.room = 100;
  node.setReport({});
  await gateway.until('all run', () => node.records.size === 25);
});

test('a batch larger than the room there is goes in one message as far as it fits, and the rest waits with positions', async () => {
  const nodes = ['a', 'b'].map((name) => new FakeNode({ name, report: { maxSandboxes: 10 } }));
  gateway = await TestGateway.start(nodes);
  const made = (await gateway.ask('POST', '/v1/sandboxes', { body: { count: 50 } })).json.sandboxes as {
    id: string;
    queuePosition?: number;
  }[];
  const positions = made.flatMap(({ queuePosition }) => queuePosition ?? []);
  expect(positions.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 30 }, (_, i) => i));
  expect(nodes.map((node) => [opened(node, 'createMany'), opened(node, 'create')])).toEqual(nodes.map(() => [1, 0]));
  // What ends makes room for the next, until all have been there.
  for (const { id } of made) {
    await gateway.ask('GET', `/v1/sandboxes/${id}?waitMs=20000`);
    expect((await gateway.ask('DELETE', `/v1/sandboxes/${id}`)).status).toBe(200);
  }
  const ids = nodes.flatMap(({ specs }) => specs.map(({ id }) => id));
  expect(ids.toSorted()).toEqual(made.map(({ id }) => id).toSorted());
});

test('a batch for which there are neither nodes nor places enough is refused as a whole, and may come again', async () => {
  const [node] = nodesNamed('a') as [FakeNode];
  node.report = { ...node.report, maxSandboxes: 10 };
  gateway = await TestGateway.start([node], { queueMax: 5 });
  const ask = (count: number) =>
    gateway.ask('POST', '/v1/sandboxes', { body: { count }, headers: { 'idempotency-key': `of-${count}` } });
  const refused = await ask(20);
  expect([refused.status, refused.headers['retry-after']]).toEqual([503, '1']);
  expect(refused.json.error).toMatchObject({ code: 'capacity_exhausted', retryable: true });
  const alive = (): number => [...node.records.values()].filter(({ status }) => status === 'RUNNING').length;
  await gateway.until(
    'nothing of it is left',
    () => alive() === 0 && gateway.services.nodes.list()[0]?.sandboxes === 0,
  );
  expect(gateway.services.shared.queue.depth).toBe(0);
  expect((await ask(15)).status).toBe(201);
  await gateway.until('as many run as fit', () => alive() === 10);
  expect(gateway.services.shared.queue.depth).toBe(5);
});

test('an agent that knows no batches gets them one by one, and is asked for a batch once', async () => {
  const [node] = nodesNamed('a') as [FakeNode];
  node.old = true;
  gateway = await TestGateway.start([node]);
  for (let i = 0; i < 2; i++) expect((await batch(20)).every(({ status }) => status === 'RUNNING')).toBe(true);
  expect([opened(node, 'createMany'), opened(node, 'create')]).toEqual([1, 40]);
});

test('when a link breaks under a batch, the sandboxes come up elsewhere', async () => {
  const nodes = nodesNamed('a', 'b') as [FakeNode, FakeNode];
  gateway = await TestGateway.start(nodes);
  nodes[0].intercept = (stream) => {
    if (stream.request['op'] !== 'createMany') return undefined;
    queueMicrotask(() => nodes[0].vanish());
    return {};
  };
  const made = await batch(30);
  expect(made.every(({ status }) => status === 'RUNNING')).toBe(true);
  expect(nodes[1].records.size).toBe(30);
  // One message was lost: that is one failure, and not as many as ejects a node.
  expect(gateway.services.registry.byName('a')?.ejected).toBe(false);
});

test('an answer that makes no sense is a failure of the node', async () => {
  const nodes = nodesNamed('a', 'b') as [FakeNode, FakeNode];
  gateway = await TestGateway.start(nodes);
  nodes[0].intercept = (stream) => {
    if (stream.request['op'] !== 'createMany') return undefined;
    queueMicrotask(() => {
      stream.accept({ refused: 'all' });
      stream.end();
    });
    return {};
  };
  const made = await batch(10);
  expect(made.every(({ status }) => status === 'RUNNING')).toBe(true);
  expect(nodes[1].records.size).toBe(10);
});

test('a refusal for good ends those sandboxes alone', async () => {
  const [node] = nodesNamed('a') as [FakeNode];
  gateway = await TestGateway.start([node]);
  node.intercept = (stream) => {
    if (stream.request['op'] !== 'createMany') return undefined;
    const [group] = stream.request['groups'] as [CreateGroup];
    const error = new ServiceError('image_invalid', 'not for this machine').toWire();
    queueMicrotask(() => {
      stream.accept({ refused: [{ ids: group.ids.slice(0, 3), error }] });
      stream.end();
    });
    return {};
  };
  const made = await batch(5, {}, 0);
  await gateway.until('three have ended', () => ended(made).length === 3);
  expect(ended(made)[0]).toMatchObject({
    status: 'ERROR',
    reason: 'image_pull_failed',
    message: 'not for this machine',
  });
});

const ended = (made: readonly { id: string }[]) =>
  made.map(({ id }) => gateway.services.sandboxes.get('default', id)).filter(({ status }) => status === 'ERROR');
