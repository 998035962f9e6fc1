/** Agents of other versions, and agents that lie, do no harm. */
import { afterEach, expect, test } from 'vitest';
import { ServiceError } from '../../protocol/errors.ts';
import { FakeNode } from '../testing/fake-node.ts';
import { TestGateway } from '../testing/harness.ts';

let gateway: TestGateway;
afterEach(() => gateway[Symbol.asyncDispose]());

const two = (): [FakeNode, FakeNode] => [new FakeNode({ name: 'node-a' }), new FakeNode({ name: 'node-b' })];
const status = async (id: string) => (await gateway.ask('GET', `/v1/sandboxes/${id}`)).json;

test.each([
  ['an event that is none', { type: 'sandbox', sandbox: { id: 5 } }],
  ['an event without a type', { kind: 'surprise' }],
  ['a second snapshot', { type: 'snapshot', node: null, sandboxes: [], more: false }],
])('an agent that sends %s loses its link, and nothing else happens', async (_what, event) => {
  const [a, b] = two();
  gateway = await TestGateway.start([a, b]);
  const ids = await Promise.all(Array.from({ length: 4 }, () => gateway.sandbox()));
  a.tell(event);
  await gateway.until('the link is closed', () => gateway.services.nodes.list().some((n) => n.state === 'away'));
  expect((await gateway.ask('GET', '/healthz')).status).toBe(200);
  for (const id of ids) expect((await status(id)).status).toBe('RUNNING');
});

test('fields that only newer agents send are read as far as they are known here, and do not cost the link', async () => {
  const [a, b] = two();
  gateway = await TestGateway.start([a, b]);
  b.refuse = new ServiceError('capacity_exhausted');
  const [ended, lives] = [await gateway.sandbox(), await gateway.sandbox()];
  const newer = { futureField: { deep: [1] } };
  a.tell({ type: 'weather', outlook: 'fair' });
  a.tell({
    type: 'sandbox',
    sandbox: { ...a.records.get(ended), ...newer, status: 'ERROR', reason: 'evicted', message: 'why', endedAtMs: 5 },
  });
  a.tell({ type: 'sandbox', sandbox: { ...a.records.get(lives), ...newer, network: 'some' } });
  a.tell({ type: 'node', node: { ...a.report, ...newer, images: ['seen'] }, ...newer });
  await gateway.until('all was heard', () => gateway.services.images.list().some(({ image }) => image === 'seen'));
  expect(await status(ended)).toMatchObject({ status: 'ERROR', reason: 'internal', message: 'why' });
  expect(await status(lives)).toMatchObject({ status: 'RUNNING', network: 'internet' });
  expect((await gateway.exec(lives, { stdout: 'on' })).json.stdout).toBe('on');
  expect(a.dials).toBe(1);
});

test('an agent of another generation is rejected', async () => {
  const [a, b] = two();
  b.generation = 2;
  b.offline = true;
  gateway = await TestGateway.start([a, b]);
  b.offline = false;
  const { dials } = b;
  await gateway.until('it was dialled and dropped', () => b.dials > dials && !b.linked);
  expect(gateway.services.registry.all.map((node) => node.up)).toEqual([true, false]);
});

test('an agent that hangs up as soon as it is dialled is redialled, and harms nobody', async () => {
  const [a, b] = two();
  b.leaving = true;
  b.offline = true;
  gateway = await TestGateway.start([a, b]);
  b.offline = false;
  const { dials } = b;
  await gateway.until('it was dialled again', () => b.dials > dials + 1);
  b.leaving = false;
  await gateway.until('it is linked', () => gateway.services.registry.all.every((node) => node.up));
});

test("an agent that lies about other nodes' sandboxes, tenants and ages is not believed", async () => {
  const [a, b] = two();
  gateway = await TestGateway.start([a, b]);
  b.refuse = new ServiceError('capacity_exhausted');
  const id = await gateway.sandbox();
  const record = a.records.get(id);
  if (record === undefined) throw new Error('not there');
  const before = await status(id);
  b.tell({ type: 'sandbox', sandbox: { ...record, status: 'ERROR', reason: 'oom', endedAtMs: 1 } });
  b.tell({ type: 'forgotten', ids: [id] });
  a.tell({ type: 'sandbox', sandbox: { ...record, tenant: 'other' } });
  a.tell({ type: 'sandbox', sandbox: { ...record, createdAtMs: 5 } });
  b.tell({ type: 'node', node: { ...b.report, images: ['seen'] } });
  await gateway.until('all was heard', () => gateway.services.images.list().some(({ image }) => image === 'seen'));
  const after = await status(id);
  expect(after).toMatchObject({ status: 'RUNNING', createdAt: before.createdAt, node: 'node-a' });
  expect((await gateway.ask('GET', `/v1/sandboxes/${id}`, { key: 'key of somebody else' })).status).toBe(404);
});

test.each([
  ['createdAtMs', 1e300],
  ['createdAtMs', -1],
  ['createdAtMs', 0.5],
  ['startedAtMs', 8.65e15],
  ['endedAtMs', 1e300],
  ['expiresAtMs', -1e300],
  ['id', '../../x'],
  ['id', 'X'.repeat(200)],
])('an agent whose sandbox has a %s of %s loses its link, and lists still work', async (field, value) => {
  const [a] = two();
  gateway = await TestGateway.start([a]);
  const id = await gateway.sandbox();
  a.tell({ type: 'sandbox', sandbox: { ...a.records.get(id), id: 'sbx-madeup', [field]: value } });
  await gateway.until('the link is closed', () => gateway.services.nodes.list()[0]?.state === 'away');
  const first = await gateway.ask('GET', '/v1/sandboxes?limit=1');
  expect(first.json.sandboxes).toMatchObject([{ id, status: 'RUNNING' }]);
  expect(first.json.nextCursor).toBeNull();
});

test('an agent with an absurd report is listed, gets no sandbox it has no room for, and breaks nothing', async () => {
  const [a, b] = two();
  gateway = await TestGateway.start([a, b]);
  const pools = [{ key: 'x'.repeat(100_000), warm: 1e308, starting: -1e308, target: 1e308 }];
  a.setReport({ pools, cpus: -1, memoryMb: -1e300, memoryFreeMb: -1e300, sandboxes: 1e300, images: ['seen'] });
  await gateway.until('it was heard', () => gateway.services.images.list().some(({ image }) => image === 'seen'));
  for (let i = 0; i < 10; i++) expect((await status(await gateway.sandbox())).node).toBe('node-b');
  for (const path of ['/v1/nodes', '/v1/pools', '/v1/images', '/metrics', '/readyz']) {
    expect((await gateway.ask('GET', path)).status).toBe(200);
  }
  a.tell({ type: 'node', node: { ...a.report, draining: true, drainDeadlineMs: 1e300 } });
  await gateway.until('the link is closed', () => gateway.services.nodes.list().some((n) => n.state === 'away'));
  expect((await gateway.ask('GET', '/v1/nodes')).status).toBe(200);
});

test('an answer to a create that names another sandbox counts as a failure of the node', async () => {
  const [a, b] = two();
  b.offline = true;
  gateway = await TestGateway.start([a, b]);
  const other = await gateway.sandbox();
  a.intercept = (stream) => {
    if (stream.request['op'] !== 'create') return undefined;
    queueMicrotask(() => {
      stream.accept({ ...a.records.get(other) });
      stream.end();
    });
    return {};
  };
  b.offline = false;
  const id = await gateway.sandbox();
  expect((await status(id)).node).toBe('node-b');
});

test('of two agents with one name, the second is rejected', async () => {
  const a = new FakeNode({ name: 'node-a' });
  const twin = new FakeNode({ name: 'node-a', url: 'ws://twin' });
  twin.offline = true;
  gateway = await TestGateway.start([a, twin]);
  const dials = twin.dials;
  twin.offline = false;
  await gateway.until('the twin was dialled and dropped', () => twin.dials > dials && !twin.linked);
  expect(gateway.services.registry.all.map((node) => node.up)).toEqual([true, false]);
});
