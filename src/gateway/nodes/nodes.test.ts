import { afterEach, expect, test, vi } from 'vitest';
import { ServiceError } from '../../protocol/errors.ts';
import { FakeNode } from '../testing/fake-node.ts';
import { TestGateway } from '../testing/harness.ts';

let gateway: TestGateway;
afterEach(() => gateway[Symbol.asyncDispose]());

const two = (): [FakeNode, FakeNode] => [new FakeNode({ name: 'node-a' }), new FakeNode({ name: 'node-b' })];
const status = async (id: string) => (await gateway.ask('GET', `/v1/sandboxes/${id}`)).json;

test('a node that is lost takes its sandboxes with it, and creates go to the other', async () => {
  const [a, b] = two();
  gateway = await TestGateway.start([a, b], { nodeGraceMs: 50, linkPatienceMs: 5_000 });
  b.refuse = new ServiceError('capacity_exhausted');
  const onA = await gateway.sandbox();
  b.refuse = null;
  a.vanish();
  await gateway.until('node-a is lost', () => gateway.services.nodes.list().some((n) => n.state === 'lost'));
  expect(await status(onA)).toMatchObject({ status: 'ERROR', reason: 'node_lost', node: 'node-a' });
  expect((await gateway.exec(onA, {})).json.error).toMatchObject({
    code: 'sandbox_ended',
    details: { reason: 'node_lost' },
  });
  const next = await gateway.sandbox();
  expect((await status(next)).node).toBe('node-b');
});

test('a node that was lost and is back has its sandboxes again; those that were deleted meanwhile go', async () => {
  const [a] = two();
  gateway = await TestGateway.start([a], { nodeGraceMs: 50, linkPatienceMs: 5_000 });
  const [kept = '', deleted = '', swept = '', died = ''] = await Promise.all(
    ['kept', 'deleted', 'swept', 'died'].map((name) => gateway.sandbox({ labels: { name } })),
  );
  a.vanish();
  for (const id of [kept, deleted, swept, died]) {
    await gateway.until('it is given up', () => gateway.services.sandboxes.get('default', id).status === 'ERROR');
  }
  expect((await gateway.ask('DELETE', `/v1/sandboxes/${deleted}`)).json).toMatchObject({ reason: 'node_lost' });
  expect((await gateway.ask('DELETE', '/v1/sandboxes?label=name=swept')).json).toEqual({ deleted: 0 });
  a.set(died, { status: 'ERROR', reason: 'oom', endedAtMs: Date.now() });
  a.offline = false;
  await gateway.until('it is taken back', () => gateway.services.sandboxes.get('default', kept).status === 'RUNNING');
  expect((await gateway.exec(kept, { stdout: 'alive' })).json.stdout).toBe('alive');
  await gateway.until('the deleted are gone', () =>
    [deleted, swept].every((id) => a.records.get(id)?.status === 'TERMINATED'),
  );
  expect(await status(deleted)).toMatchObject({ status: 'ERROR', reason: 'node_lost' });
  // What its node knows of an end is better than a guess.
  expect(await status(died)).toMatchObject({ status: 'ERROR', reason: 'oom' });
  expect(gateway.services.nodes.list()[0]?.sandboxes).toBe(1);
});

test('the link of one gateway that is cut for long costs those who use another nothing', async () => {
  const [a] = two();
  gateway = await TestGateway.start([a]);
  const id = await gateway.sandbox();
  await using cutOff = await TestGateway.start([a], { nodeGraceMs: 20, linkPatienceMs: 20 });
  await cutOff.until('it knows it', () => cutOff.services.sandboxes.list('default').sandboxes.length === 1);
  const twin = cutOff.services.registry.all[0];
  await twin?.link?.stop();
  await cutOff.until('it has given it up', () => cutOff.services.sandboxes.get('default', id).status === 'ERROR');
  expect((await gateway.exec(id, { stdout: 'here' })).json.stdout).toBe('here');
  await using back = await TestGateway.start([a]);
  await back.until('it knows it', () => back.services.sandboxes.get('default', id).status === 'RUNNING');
  expect(a.records.get(id)?.status).toBe('RUNNING');
});

test('a node that comes back within the grace has lost nothing', async () => {
  const [a] = two();
  gateway = await TestGateway.start([a]);
  const ids = (await gateway.ask('POST', '/v1/sandboxes?waitMs=20000', { body: { count: 50 } })).json.sandboxes.map(
    (s: { id: string }) => s.id,
  );
  a.vanish();
  await gateway.until('it is away', () => gateway.services.nodes.list()[0]?.state === 'away');
  expect((await gateway.ask('GET', '/readyz')).status).toBe(503);
  const exec = gateway.exec(ids[7], { stdout: 'waited' });
  a.offline = false;
  expect((await exec).json.stdout).toBe('waited');
  for (const id of ids) expect((await status(id)).status).toBe('RUNNING');
});

test('a gateway that starts learns all sandboxes from the nodes, the dead ones too', async () => {
  const [a] = two();
  gateway = await TestGateway.start([a]);
  const alive = await gateway.sandbox({ labels: { x: '1' } });
  const dead = await gateway.sandbox();
  await gateway.ask('DELETE', `/v1/sandboxes/${dead}`);
  await using second = await TestGateway.start([a]);
  expect((await second.ask('GET', `/v1/sandboxes/${alive}`)).json).toMatchObject({
    status: 'RUNNING',
    labels: { x: '1' },
  });
  expect((await second.ask('GET', `/v1/sandboxes/${dead}`)).json).toMatchObject({
    status: 'TERMINATED',
    reason: 'deleted',
  });
  expect((await second.exec(alive, { stdout: 'x' })).json.stdout).toBe('x');
  // And from then on what the other gateway does.
  const later = await gateway.sandbox();
  await second.until('it has heard of it', () =>
    second.services.sandboxes.list('default').sandboxes.some((s) => s.id === later),
  );
});

test('a gateway that has not heard all nodes yet does not say that a sandbox is not there', async () => {
  const [a, b] = two();
  gateway = await TestGateway.start([a, b]);
  const id = await gateway.sandbox();
  a.vanish();
  b.vanish();
  await using second = await TestGateway.start([a, b]);
  const early = await second.ask('GET', `/v1/sandboxes/${id}`);
  expect(early.json.error).toMatchObject({ code: 'node_unavailable', retryable: true });
  expect(early.headers['retry-after']).toBe('1');
  expect((await second.ask('GET', '/readyz')).status).toBe(503);
  a.offline = b.offline = false;
  await second.until('it has heard both', () => second.services.nodes.ready);
  expect((await second.ask('GET', `/v1/sandboxes/${id}`)).json.status).toBe('RUNNING');
  expect((await second.ask('GET', '/v1/sandboxes/sbx-none')).json.error.code).toBe('sandbox_not_found');
});

test.each(['mute', 'deaf'] as const)('a link over which the node is %s is found and dialled anew', async (fault) => {
  const [a] = two();
  // It has something to say all the time: silence alone would not tell.
  const chatter = setInterval(() => a.setReport({}), 10);
  try {
    gateway = await TestGateway.start([a], { heartbeat: { intervalMs: 40, deadAfterMs: 200 } });
    const id = await gateway.sandbox();
    const losses = (): number | undefined => gateway.services.registry.all[0]?.link?.counts.losses;
    expect(losses()).toBe(0);
    a[fault] = true;
    await gateway.until('the link is given up', () => losses() === 1);
    a[fault] = false;
    const exec = await gateway.exec(id, { stdout: 'back' });
    expect(exec.json.stdout).toBe('back');
    const metrics = (await gateway.ask('GET', '/metrics')).bytes.toString();
    expect(metrics).toMatch(/^millibox_link_losses [1-9]/m);
    expect(metrics).toMatch(/^millibox_heartbeats_late [1-9]/m);
  } finally {
    clearInterval(chatter);
  }
});

test('a clock that is set loses no node', async () => {
  const [a] = two();
  vi.useFakeTimers({ toFake: ['Date'] });
  try {
    gateway = await TestGateway.start([a], { nodeGraceMs: 60_000, heartbeat: { intervalMs: 20, deadAfterMs: 200 } });
    const id = await gateway.sandbox({ timeoutMs: 7 * 86_400_000 });
    const losses = gateway.services.registry.all[0]?.link?.counts.losses;
    for (const step of [86_400_000, -2 * 86_400_000]) {
      vi.setSystemTime(Date.now() + step);
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(gateway.services.nodes.list()[0]?.state).toBe('ready');
    }
    expect(gateway.services.registry.all[0]?.link?.counts.losses).toBe(losses);
    a.vanish();
    await gateway.until('it is away', () => gateway.services.nodes.list()[0]?.state === 'away');
    vi.setSystemTime(Date.now() + 86_400_000);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(gateway.services.nodes.list()[0]?.state).toBe('away');
    a.offline = false;
    expect((await gateway.exec(id, { stdout: 'here' })).json.stdout).toBe('here');
  } finally {
    vi.useRealTimers();
  }
});

test('while a node is away, an id that nobody here knows may be one of its sandboxes', async () => {
  const [a, b] = two();
  gateway = await TestGateway.start([a, b], { nodeGraceMs: 600 });
  const unknown = async () => (await gateway.ask('GET', '/v1/sandboxes/sbx-none')).json.error.code;
  expect(await unknown()).toBe('sandbox_not_found');
  a.vanish();
  await gateway.until('it is away', () => gateway.services.nodes.list().some((n) => n.state === 'away'));
  expect(await unknown()).toBe('node_unavailable');
  await gateway.until('it is lost', () => gateway.services.nodes.list().some((n) => n.state === 'lost'));
  expect(await unknown()).toBe('sandbox_not_found');
});

test('a sandbox that its node has no more when it comes back has ended', async () => {
  const [a] = two();
  gateway = await TestGateway.start([a]);
  const id = await gateway.sandbox();
  a.vanish();
  a.records.delete(id);
  a.offline = false;
  await gateway.until('it has ended', () => gateway.services.sandboxes.get('default', id).status === 'ERROR');
  expect(await status(id)).toMatchObject({ reason: 'node_lost' });
});

test('refused is not failed: the other node takes it, and the first one is still trusted', async () => {
  const [a, b] = two();
  a.refuse = new ServiceError('capacity_exhausted');
  gateway = await TestGateway.start([a, b]);
  const ids = await Promise.all(Array.from({ length: 20 }, () => gateway.sandbox()));
  for (const id of ids) expect((await status(id)).node).toBe('node-b');
  expect(gateway.services.nodes.list().every((n) => n.ejectedMs === 0)).toBe(true);
});

test('a node that fails again and again is ejected, and its sandboxes go elsewhere', async () => {
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

test('a create whose answer was lost is on one node only in the end', async () => {
  const [a, b] = two();
  b.offline = true;
  gateway = await TestGateway.start([a, b]);
  a.silent.add('create');
  const { json } = await gateway.ask('POST', '/v1/sandboxes', { body: {} });
  a.silent.clear();
  // Node-a had taken it, and its answer never came.
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

test('what does not fit waits, and is placed the moment there is room', async () => {
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

test('of those of a tenant that wait the highest priority goes first, and of one priority the oldest', async () => {
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

test('a full queue says so at once, with when to come back, and makes none of a batch', async () => {
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

test('a sandbox that waited too long for room ends, and what waits in it is told', async () => {
  const [a] = two();
  a.report = { ...a.report, maxSandboxes: 1 };
  gateway = await TestGateway.start([a], { queueWaitMs: 1_000 });
  await gateway.sandbox();
  const { json } = await gateway.ask('POST', '/v1/sandboxes?waitMs=20000', { body: {} });
  expect(json).toMatchObject({ status: 'ERROR', reason: 'start_failed' });
  const short = await gateway.ask('POST', '/v1/sandboxes?waitMs=20000', { body: { timeoutMs: 10 } });
  expect(short.json).toMatchObject({ status: 'TIMEOUT', reason: 'lifetime' });
});

test('what no node could ever take is turned down at once', async () => {
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
  // The node has heard it, and tells every gateway.
  await using other = await TestGateway.start([a, b]);
  expect(other.services.nodes.list().find((n) => n.name === 'node-a')).toMatchObject({ state: 'draining' });
  for (let i = 0; i < 5; i++) expect((await status(await gateway.sandbox())).node).toBe('node-b');
  expect((await gateway.exec(onA, { stdout: 'still' })).json.stdout).toBe('still');
  expect((await gateway.ask('POST', '/v1/nodes/nope/drain', { body: {} })).json.error.code).toBe('not_found');
});

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

test('what only newer agents say is read as far as it is known here, and costs no link', async () => {
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

test('an agent of another generation is not let in', async () => {
  const [a, b] = two();
  b.generation = 2;
  b.offline = true;
  gateway = await TestGateway.start([a, b]);
  b.offline = false;
  const { dials } = b;
  await gateway.until('it was dialled and dropped', () => b.dials > dials && !b.linked);
  expect(gateway.services.registry.all.map((node) => node.up)).toEqual([true, false]);
});

test('an agent that lies about other nodes’ sandboxes, tenants and ages is not believed', async () => {
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
])('an agent whose sandbox has a %s of %s loses its link, and lists go on', async (field, value) => {
  const [a] = two();
  gateway = await TestGateway.start([a]);
  const id = await gateway.sandbox();
  a.tell({ type: 'sandbox', sandbox: { ...a.records.get(id), id: 'sbx-madeup', [field]: value } });
  await gateway.until('the link is closed', () => gateway.services.nodes.list()[0]?.state === 'away');
  const first = await gateway.ask('GET', '/v1/sandboxes?limit=1');
  expect(first.json.sandboxes).toMatchObject([{ id, status: 'RUNNING' }]);
  expect(first.json.nextCursor).toBeNull();
});

test('an agent that says absurd things of itself is shown, given no sandbox it has no room for, and breaks nothing', async () => {
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

test('an answer to a create that is about another sandbox counts as a failure of the node', async () => {
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

test('two agents of one name: the second is not let in', async () => {
  const a = new FakeNode({ name: 'node-a' });
  const twin = new FakeNode({ name: 'node-a', url: 'ws://twin' });
  twin.offline = true;
  gateway = await TestGateway.start([a, twin]);
  const dials = twin.dials;
  twin.offline = false;
  await gateway.until('the twin was dialled and dropped', () => twin.dials > dials && !twin.linked);
  expect(gateway.services.registry.all.map((node) => node.up)).toEqual([true, false]);
});
