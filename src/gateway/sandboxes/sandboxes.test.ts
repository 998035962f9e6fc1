import { afterEach, expect, test } from 'vitest';
import { ServiceError } from '../../protocol/errors.ts';
import { FakeNode } from '../testing/fake-node.ts';
import { OTHER_KEY, TestGateway } from '../testing/harness.ts';

let gateway: TestGateway;
afterEach(() => gateway[Symbol.asyncDispose]());

test('create answers before the sandbox exists, and waitMs holds the answer until it runs', async () => {
  const node = new FakeNode({ autoRun: false });
  gateway = await TestGateway.start([node]);
  const { status, json } = await gateway.ask('POST', '/v1/sandboxes', { body: { name: 'mine', labels: { a: 'b' } } });
  expect(status).toBe(201);
  expect(json).toMatchObject({
    name: 'mine',
    image: 'image',
    labels: { a: 'b' },
    reason: null,
    endedAt: null,
    network: 'off',
  });
  expect(['PENDING', 'PROVISIONING']).toContain(json.status);
  const waiting = gateway.ask('GET', `/v1/sandboxes/${json.id}?waitMs=20000`);
  await gateway.until('the node has it', () => node.records.has(json.id));
  node.run(json.id);
  expect((await waiting).json).toMatchObject({ status: 'RUNNING', node: 'node-a', timings: { warm: true } });
});

test('secrets and env are in no answer', async () => {
  gateway = await TestGateway.start();
  const made = await gateway.ask('POST', '/v1/sandboxes?waitMs=20000', {
    body: { env: { E: 'visible-e' }, secrets: { S: 'hidden-s' } },
  });
  const listed = await gateway.ask('GET', '/v1/sandboxes');
  const nodes = await gateway.ask('GET', '/metrics');
  for (const { bytes } of [made, listed, nodes]) expect(bytes.toString()).not.toMatch(/hidden-s|visible-e/);
  expect(gateway.node.specs[0]).toMatchObject({ env: { E: 'visible-e' }, secrets: { S: 'hidden-s' } });
});

test('count makes so many, all different', async () => {
  gateway = await TestGateway.start();
  const { status, json } = await gateway.ask('POST', '/v1/sandboxes?waitMs=20000', { body: { count: 50 } });
  expect(status).toBe(201);
  expect(new Set(json.sandboxes.map((s: { id: string }) => s.id)).size).toBe(50);
  expect(json.sandboxes.every((s: { status: string }) => s.status === 'RUNNING')).toBe(true);
});

test('the same idempotency key makes one sandbox, also at the same time, and another body is a conflict', async () => {
  gateway = await TestGateway.start();
  const create = (body: object, key = 'k1') =>
    gateway.ask('POST', '/v1/sandboxes', { body, headers: { 'idempotency-key': key } });
  const answers = await Promise.all(Array.from({ length: 20 }, () => create({ name: 'one' })));
  expect(new Set(answers.map(({ json }) => json.id)).size).toBe(1);
  expect((await create({ name: 'two' })).json.error.code).toBe('idempotency_conflict');
  expect((await create({ name: 'two' }, 'k2')).json.id).not.toBe(answers[0]?.json.id);
  // After its deletion the key still means that sandbox.
  await gateway.ask('DELETE', `/v1/sandboxes/${answers[0]?.json.id}`);
  expect((await create({ name: 'one' })).json).toMatchObject({ id: answers[0]?.json.id, status: 'TERMINATED' });
});

test('a key whose sandbox was deleted while it waited for a node still means that sandbox', async () => {
  gateway = await TestGateway.start([new FakeNode({ report: { maxSandboxes: 1 } })]);
  const create = () => gateway.ask('POST', '/v1/sandboxes', { body: {}, headers: { 'idempotency-key': 'k' } });
  await gateway.sandbox();
  const { id, queuePosition } = (await create()).json as { id: string; queuePosition?: number };
  expect(queuePosition).toBe(0);
  await gateway.ask('DELETE', `/v1/sandboxes/${id}`);
  expect((await create()).json).toMatchObject({ id, status: 'TERMINATED', reason: 'deleted' });
  expect(gateway.services.shared.queue.depth).toBe(0);
});

test('a create that failed leaves its idempotency key free', async () => {
  gateway = await TestGateway.start([new FakeNode({ report: { memoryMb: 1000 } })]);
  const create = (body: object) => gateway.ask('POST', '/v1/sandboxes', { body, headers: { 'idempotency-key': 'k' } });
  expect((await create({ memoryMb: 5000 })).json.error.code).toBe('invalid_request');
  expect((await create({ memoryMb: 500 })).status).toBe(201);
});

test("tenants do not see, use or delete each other's sandboxes", async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox({ labels: { a: 'b' } });
  const other = { key: OTHER_KEY };
  expect((await gateway.ask('GET', '/v1/sandboxes', other)).json.sandboxes).toEqual([]);
  for (const [method, path] of [
    ['GET', ''],
    ['DELETE', ''],
    ['POST', '/keepalive'],
    ['GET', '/execs'],
    ['GET', '/files?path=/etc/passwd'],
    ['GET', '/ports/80/'],
  ] as const) {
    expect((await gateway.ask(method, `/v1/sandboxes/${id}${path}`, other)).json.error.code).toBe('sandbox_not_found');
  }
  expect((await gateway.exec(id, {}, other)).json.error.code).toBe('sandbox_not_found');
  expect((await gateway.ask('DELETE', '/v1/sandboxes?label=a=b', other)).json).toEqual({ deleted: 0 });
  expect((await gateway.ask('GET', `/v1/sandboxes/${id}`)).json.status).toBe('RUNNING');
});

test('two values of one label are refused: no sandbox has both, and one that has the last is not what was asked for', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox({ labels: { a: '1', b: '' } });
  for (const method of ['GET', 'DELETE'] as const) {
    const { status, json } = await gateway.ask(method, '/v1/sandboxes?label=a=0&label=a=1');
    expect([status, json.error.code]).toEqual([400, 'invalid_request']);
  }
  const both = await gateway.ask('GET', '/v1/sandboxes?label=a=1&label=b=&label=a=1');
  expect(both.json.sandboxes.map((sandbox: { id: string }) => sandbox.id)).toEqual([id]);
});

test('pages hold while sandboxes come and go: nothing twice, nothing that stayed is left out', async () => {
  gateway = await TestGateway.start();
  const made = (await gateway.ask('POST', '/v1/sandboxes?waitMs=20000', { body: { count: 30, labels: { l: 'x' } } }))
    .json.sandboxes as { id: string }[];
  const seen: string[] = [];
  let cursor = '';
  const removed = new Set<string>();
  for (let page = 0; ; page++) {
    const { json } = await gateway.ask('GET', `/v1/sandboxes?limit=7&label=l=x&status=RUNNING${cursor}`);
    seen.push(...json.sandboxes.map((s: { id: string }) => s.id));
    if (json.nextCursor === null) break;
    cursor = `&cursor=${json.nextCursor}`;
    // One goes that was shown (the cursor itself), one that was not, and others come.
    const shown = seen.at(-1) ?? '';
    const later = made.find(({ id }) => !seen.includes(id) && !removed.has(id));
    await gateway.ask('DELETE', `/v1/sandboxes/${shown}`);
    if (later !== undefined) {
      removed.add(later.id);
      await gateway.ask('DELETE', `/v1/sandboxes/${later.id}`);
    }
    await gateway.ask('POST', '/v1/sandboxes', { body: { labels: { l: 'y' } } });
    expect(page).toBeLessThan(30);
  }
  expect(new Set(seen).size).toBe(seen.length);
  for (const { id } of made) if (!removed.has(id)) expect(seen).toContain(id);
});

test('labels, status and name filter a list', async () => {
  gateway = await TestGateway.start();
  const a = await gateway.sandbox({ labels: { k: 'a=b', both: '1' }, name: 'n' });
  const b = await gateway.sandbox({ labels: { k: 'c', both: '1' } });
  const ids = async (query: string) =>
    (await gateway.ask('GET', `/v1/sandboxes?${query}`)).json.sandboxes.map((s: { id: string }) => s.id).sort();
  expect(await ids('label=both=1')).toEqual([a, b].sort());
  expect(await ids('label=both=1&label=k=c')).toEqual([b]);
  expect(await ids('label=k=a=b')).toEqual([a]);
  expect(await ids('name=n')).toEqual([a]);
  expect(await ids('label=toString=x')).toEqual([]);
  await gateway.ask('DELETE', `/v1/sandboxes/${a}`);
  expect(await ids('status=TERMINATED')).toEqual([a]);
  expect(await ids('status=RUNNING,TERMINATED')).toEqual([a, b].sort());
});

test('delete wins over a create that is still under way', async () => {
  const node = new FakeNode({ autoRun: false });
  gateway = await TestGateway.start([node]);
  node.silent.add('create');
  const { json } = await gateway.ask('POST', '/v1/sandboxes', { body: {} });
  node.silent.clear();
  const deleted = await gateway.ask('DELETE', `/v1/sandboxes/${json.id}`);
  expect(deleted.json).toMatchObject({ status: 'TERMINATED', reason: 'deleted' });
  // The node takes the create only now.
  const now = Date.now();
  const { env: _e, secrets: _s, ...spec } = { env: {}, secrets: {}, ...json };
  const record = {
    id: spec.id,
    tenant: 'default',
    name: null,
    image: 'image',
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
    expiresAtMs: now + 1000,
    timings: {},
  } as const;
  node.records.set(spec.id, { ...record, labels: {} });
  const before = node.deleted.length;
  node.tell({ type: 'sandbox', sandbox: record });
  await gateway.until('it is deleted again', () => node.deleted.length > before);
  expect((await gateway.ask('GET', `/v1/sandboxes/${json.id}`)).json.status).toBe('TERMINATED');
});

test('delete is idempotent, answers for the dead, and an exec there is a typed error', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const [first, second] = await Promise.all([1, 2].map(() => gateway.ask('DELETE', `/v1/sandboxes/${id}`)));
  expect([first?.status, second?.status]).toEqual([200, 200]);
  expect((await gateway.ask('DELETE', `/v1/sandboxes/${id}`)).json).toMatchObject({
    status: 'TERMINATED',
    reason: 'deleted',
  });
  const exec = await gateway.exec(id, {});
  expect(exec.json.error).toMatchObject({
    code: 'sandbox_ended',
    details: { status: 'TERMINATED', reason: 'deleted' },
  });
});

test('delete by label deletes those and no others', async () => {
  gateway = await TestGateway.start();
  const keep = await gateway.sandbox({ labels: { run: '2' } });
  await gateway.ask('POST', '/v1/sandboxes?waitMs=20000', { body: { count: 10, labels: { run: '1' } } });
  expect((await gateway.ask('DELETE', '/v1/sandboxes?label=run=1')).json).toEqual({ deleted: 10 });
  expect((await gateway.ask('DELETE', '/v1/sandboxes?label=run=1')).json).toEqual({ deleted: 0 });
  expect((await gateway.ask('GET', `/v1/sandboxes/${keep}`)).json.status).toBe('RUNNING');
});

test('a deletion that the node fails is tried again until it is done', async () => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node]);
  const id = await gateway.sandbox();
  let failures = 2;
  node.intercept = (stream) => {
    if (stream.request['op'] !== 'delete' || failures-- <= 0) return undefined;
    throw new ServiceError('internal', 'device busy');
  };
  const { json } = await gateway.ask('DELETE', `/v1/sandboxes/${id}`);
  expect(json.status).toBe('TERMINATED');
  await gateway.until('the node has deleted it', () => node.records.get(id)?.status === 'TERMINATED');
});

test('a sandbox ends with the reason that its node gives, and what has ended stays ended', async () => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node]);
  const id = await gateway.sandbox();
  node.set(id, { status: 'ERROR', reason: 'oom', message: 'out of memory', endedAtMs: Date.now() });
  await gateway.until('it has ended', () => gateway.services.sandboxes.get('default', id).status === 'ERROR');
  node.set(id, { status: 'RUNNING', reason: null, message: null, endedAtMs: null });
  await gateway.until('the node is told', () => node.deleted.some((d) => d.id === id));
  expect((await gateway.ask('GET', `/v1/sandboxes/${id}`)).json).toMatchObject({
    status: 'ERROR',
    reason: 'oom',
    message: 'out of memory',
  });
});

test('extend and keepalive go to the node', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox({ timeoutMs: 60_000 });
  const { json } = await gateway.ask('POST', `/v1/sandboxes/${id}/extend`, { body: { timeoutMs: 3_600_000 } });
  expect(Date.parse(json.expiresAt)).toBeGreaterThan(Date.now() + 3_000_000);
  const kept = await gateway.ask('POST', `/v1/sandboxes/${id}/keepalive`);
  expect(kept.json.expiresAt).toBe(json.expiresAt);
});
