/** Which node gets a sandbox, and what happens when none takes it. */
import { afterEach, expect, test } from 'vitest';
import { ServiceError } from '../../protocol/errors.ts';
import { FakeNode } from '../testing/fake-node.ts';
import { TestGateway } from '../testing/harness.ts';

let gateway: TestGateway;
afterEach(() => gateway[Symbol.asyncDispose]());

const two = (): [FakeNode, FakeNode] => [new FakeNode({ name: 'node-a' }), new FakeNode({ name: 'node-b' })];
const status = async (id: string) => (await gateway.ask('GET', `/v1/sandboxes/${id}`)).json;

test('a refusal is not a failure: the other node takes the sandbox, and the first one is still trusted', async () => {
  const [a, b] = two();
  a.refuse = new ServiceError('capacity_exhausted');
  gateway = await TestGateway.start([a, b]);
  const ids = await Promise.all(Array.from({ length: 20 }, () => gateway.sandbox()));
  for (const id of ids) expect((await status(id)).node).toBe('node-b');
  expect(gateway.services.nodes.list().every((n) => n.ejectedMs === 0)).toBe(true);
});

test('a node that fails repeatedly is ejected, and its sandboxes go to other nodes', async () => {
  const [a, b] = two();
  a.refuse = new ServiceError('internal');
  gateway = await TestGateway.start([a, b]);
  const ids = await Promise.all(Array.from({ length: 40 }, () => gateway.sandbox()));
  for (const id of ids) expect((await status(id)).node).toBe('node-b');
  expect(gateway.services.nodes.list().find((n) => n.name === 'node-a')?.ejectedMs).toBeGreaterThan(0);
});

test('an image that cannot be pulled ends the sandbox with that reason, on the first node', async () => {
  const [a, b] = two();
  a.refuse = b.refuse = new ServiceError('image_not_found', 'no such tag');
  gateway = await TestGateway.start([a, b]);
  const { json } = await gateway.ask('POST', '/v1/sandboxes?waitMs=20000', { body: { image: 'nope' } });
  expect(json).toMatchObject({ status: 'ERROR', reason: 'image_pull_failed', message: 'no such tag' });
});

const DIGEST = `sha256:${'ab'.repeat(32)}`;

test.each([
  ['a name', 'held', ['held:latest']],
  ['a tag', 'docker.io/library/held:1', ['held:1']],
  ['a digest', `team/held:moved@${DIGEST}`, [`team/held@${DIGEST}`]],
])('a create by %s goes to the node that holds the image', async (_way, image, images) => {
  const [a, b] = two();
  b.report = { ...b.report, images };
  gateway = await TestGateway.start([a, b]);
  const nodes = new Set<string>();
  for (let i = 0; i < 8; i++) nodes.add((await status(await gateway.sandbox({ image }))).node);
  expect([...nodes]).toEqual(['node-b']);
});

test('a create by image id is refused even if a node holds the image: no other node would know it', async () => {
  const [a] = two();
  a.report = { ...a.report, images: [DIGEST] };
  gateway = await TestGateway.start([a]);
  for (const image of [DIGEST, DIGEST.slice('sha256:'.length)]) {
    const created = await gateway.ask('POST', '/v1/sandboxes', { body: { image } });
    expect(created.json.error).toMatchObject({
      code: 'invalid_request',
      message: expect.stringMatching(/give its name/),
    });
    const preloaded = await gateway.ask('POST', '/v1/images:preload', { body: { image } });
    expect(preloaded.json.error.code).toBe('invalid_request');
  }
  // That is how an image that has lost its name is removed.
  const removed = await gateway.ask('DELETE', `/v1/images?image=${DIGEST}`);
  expect(removed.json.error?.code).not.toBe('invalid_request');
});

test('a create whose answer was lost ends up on one node only', async () => {
  const [a, b] = two();
  b.offline = true;
  gateway = await TestGateway.start([a, b]);
  a.silent.add('create');
  const { json } = await gateway.ask('POST', '/v1/sandboxes', { body: {} });
  a.silent.clear();
  // Node-a had taken it, but its answer never arrived.
  const now = Date.now();
  const { nodes: _none, ...view } = { nodes: 0, ...json };
  a.records.set(json.id, {
    id: json.id,
    tenant: 'default',
    name: null,
    image: view.image,
    status: 'RUNNING',
    reason: null,
    message: null,
    cpus: 1,
    memoryMb: 512,
    diskMb: null,
    pidsLimit: 512,
    network: 'off',
    labels: {},
    createdAtMs: now,
    startedAtMs: now,
    endedAtMs: null,
    expiresAtMs: now + 60_000,
    timings: {},
  });
  a.vanish();
  b.offline = false;
  await gateway.until('node-b has it', () => b.records.has(json.id));
  a.offline = false;
  await gateway.until('node-a has let it go', () => a.records.get(json.id)?.status === 'TERMINATED');
  expect(await status(json.id)).toMatchObject({ status: 'RUNNING', node: 'node-b' });
});

test('a sandbox that does not fit waits, and is placed as soon as there is room', async () => {
  const [a] = two();
  a.report = { ...a.report, maxSandboxes: 2 };
  gateway = await TestGateway.start([a]);
  const first = await gateway.sandbox();
  await gateway.sandbox();
  const { json } = await gateway.ask('POST', '/v1/sandboxes', { body: {} });
  expect(json).toMatchObject({ status: 'PENDING', queuePosition: 0 });
  expect(gateway.services.sandboxes.queuePosition(json.id)).toBe(0);
  const exec = gateway.exec(json.id, { stdout: 'late' });
  await gateway.ask('DELETE', `/v1/sandboxes/${first}`);
  expect((await exec).json.stdout).toBe('late');
});

test("among a tenant's waiting sandboxes the highest priority goes first, then the oldest", async () => {
  const [a] = two();
  a.report = { ...a.report, maxSandboxes: 1 };
  gateway = await TestGateway.start([a]);
  let last = await gateway.sandbox();
  const created: Record<string, string> = {};
  for (const [name, priority] of Object.entries({ usual: undefined, later: -5, second: 7, third: 7, first: 1000 })) {
    const { json } = await gateway.ask('POST', '/v1/sandboxes', { body: { name, priority } });
    created[name] = json.id;
  }
  const inOrder = ['first', 'second', 'third', 'usual', 'later'];
  for (const [i, name] of inOrder.entries()) {
    const { json } = await gateway.ask('GET', `/v1/sandboxes/${created[name]}`);
    expect([name, json.queuePosition]).toEqual([name, i]);
  }
  for (const name of inOrder) {
    await gateway.ask('DELETE', `/v1/sandboxes/${last}`);
    last = created[name] ?? '';
    expect((await gateway.ask('GET', `/v1/sandboxes/${last}?waitMs=20000`)).json.status).toBe('RUNNING');
  }
  const refused = await gateway.ask('POST', '/v1/sandboxes', { body: { priority: 1001 } });
  expect(refused.json.error.code).toBe('invalid_request');
});

test('a full queue refuses at once, says when to retry, and creates no part of a batch', async () => {
  const [a] = two();
  a.report = { ...a.report, maxSandboxes: 1 };
  gateway = await TestGateway.start([a], { queueMax: 5 });
  await gateway.sandbox();
  const answer = await gateway.ask('POST', '/v1/sandboxes', { body: { count: 6, labels: { b: 'atch' } } });
  expect(answer.status).toBe(503);
  expect(answer.headers['retry-after']).toBe('1');
  expect(answer.json.error).toMatchObject({ code: 'capacity_exhausted', retryable: true, retryAfterMs: 1000 });
  const alive = await gateway.ask('GET', '/v1/sandboxes?label=b=atch&status=PENDING,PROVISIONING,RUNNING');
  expect(alive.json.sandboxes).toEqual([]);
  expect((await gateway.ask('POST', '/v1/sandboxes', { body: { count: 5 } })).status).toBe(201);
});

test('a sandbox that waited too long for room ends, and calls waiting for it are told', async () => {
  const [a] = two();
  a.report = { ...a.report, maxSandboxes: 1 };
  gateway = await TestGateway.start([a], { queueWaitMs: 1_000 });
  await gateway.sandbox();
  const { json } = await gateway.ask('POST', '/v1/sandboxes?waitMs=20000', { body: {} });
  expect(json).toMatchObject({ status: 'ERROR', reason: 'start_failed' });
  const short = await gateway.ask('POST', '/v1/sandboxes?waitMs=20000', { body: { timeoutMs: 10 } });
  expect(short.json).toMatchObject({ status: 'TIMEOUT', reason: 'lifetime' });
});

test('a request that no node could ever take is refused at once', async () => {
  const [a] = two();
  gateway = await TestGateway.start([a]);
  const { json } = await gateway.ask('POST', '/v1/sandboxes', { body: { cpus: 1000 } });
  expect(json.error).toMatchObject({ code: 'invalid_request', details: { cpus: 8 } });
});

test('a draining or cordoned node gets no new sandboxes and keeps its own', async () => {
  const [a, b] = two();
  gateway = await TestGateway.start([a, b]);
  b.refuse = new ServiceError('capacity_exhausted');
  const onA = await gateway.sandbox();
  b.refuse = null;
  expect((await gateway.ask('POST', '/v1/nodes/node-a/cordon', { body: {} })).json.state).toBe('cordoned');
  b.setReport({});
  for (let i = 0; i < 5; i++) expect((await status(await gateway.sandbox())).node).toBe('node-b');
  await gateway.ask('POST', '/v1/nodes/node-a/cordon', { body: { on: false } });
  const draining = await gateway.ask('POST', '/v1/nodes/node-a/drain', { body: { deadlineMs: 60_000 } });
  expect(draining.json).toMatchObject({ state: 'draining', sandboxes: 1 });
  expect(Date.parse(draining.json.drainDeadline)).toBeGreaterThan(Date.now());
  // The node stores this, and reports it to every gateway.
  await using other = await TestGateway.start([a, b]);
  expect(other.services.nodes.list().find((n) => n.name === 'node-a')).toMatchObject({ state: 'draining' });
  for (let i = 0; i < 5; i++) expect((await status(await gateway.sandbox())).node).toBe('node-b');
  expect((await gateway.exec(onA, { stdout: 'still' })).json.stdout).toBe('still');
  expect((await gateway.ask('POST', '/v1/nodes/nope/drain', { body: {} })).json.error.code).toBe('not_found');
});
