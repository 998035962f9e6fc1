/** Tenants' limits, through the complete gateway over fake nodes. */
import { createHash } from 'node:crypto';
import { afterEach, expect, test } from 'vitest';
import { ERRORS, ServiceError } from '../../protocol/errors.ts';
import { createPrimeDoor } from '../doors/prime/door.ts';
import { openClientStream } from '../testing/client-stream.ts';
import { FakeNode } from '../testing/fake-node.ts';
import { KEY, OTHER_KEY, TEST_CONFIG, TestGateway, type Answer } from '../testing/harness.ts';
import { parseTenants, type TenantRules } from './file.ts';

let gateway: TestGateway;
afterEach(() => gateway[Symbol.asyncDispose]());

const rules = (own: Partial<TenantRules>, defaults: Partial<TenantRules> = {}) => ({
  tenants: parseTenants({ defaults, tenants: { default: own } }),
});
const create = (body: object = {}, key = KEY): Promise<Answer> => gateway.ask('POST', '/v1/sandboxes', { body, key });

function expectRefusal(answer: Answer, code: 'quota_exceeded' | 'rate_limited', details: object): void {
  expect(answer.status).toBe(429);
  expect(answer.json.error).toMatchObject({ code, retryable: true, details });
  expect(answer.json.error.retryAfterMs).toBeGreaterThan(0);
  expect(Number(answer.headers['retry-after'])).toBe(Math.max(1, Math.ceil(answer.json.error.retryAfterMs / 1000)));
}

test('a tenant has no more sandboxes than its limit until one of them ends; others are not affected', async () => {
  gateway = await TestGateway.start([new FakeNode()], rules({ sandboxes: 3 }));
  const first = await gateway.sandbox();
  expect((await create({ count: 2 })).status).toBe(201);
  expectRefusal(await create(), 'quota_exceeded', { quota: 'sandboxes', limit: 3, used: 3 });
  expect((await create({ count: 50 }, OTHER_KEY)).status).toBe(201);
  await gateway.ask('DELETE', `/v1/sandboxes/${first}`);
  expect((await create()).status).toBe(201);
  expectRefusal(await create(), 'quota_exceeded', { quota: 'sandboxes' });
});

test('a sandbox ended by its node makes room too', async () => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node], rules({ sandboxes: 1 }));
  const id = await gateway.sandbox();
  expect((await create()).status).toBe(429);
  node.set(id, { status: 'TIMEOUT', reason: 'lifetime', endedAtMs: Date.now() });
  await gateway.until('it has ended', () => gateway.services.sandboxes.get('default', id).status === 'TIMEOUT');
  expect((await create()).status).toBe(201);
});

test('cpus and memory are limited over all sandboxes of a tenant', async () => {
  gateway = await TestGateway.start([new FakeNode()], rules({ cpus: 1, memoryMb: 1000 }));
  for (let i = 0; i < 10; i++) expect((await create({ cpus: 0.1, memoryMb: 16 })).status).toBe(201);
  expectRefusal(await create({ cpus: 0.1, memoryMb: 16 }), 'quota_exceeded', { quota: 'cpus', limit: 1, used: 1 });
  await gateway.ask('DELETE', `/v1/sandboxes/${(await gateway.ask('GET', '/v1/sandboxes')).json.sandboxes[0].id}`);
  expectRefusal(await create({ cpus: 0.05, memoryMb: 900 }), 'quota_exceeded', {
    quota: 'memoryMb',
    limit: 1000,
    used: 144,
  });
});

test('sandboxes waiting for room count, and a batch is admitted as a unit or not at all', async () => {
  const node = new FakeNode({ report: { maxSandboxes: 2 } });
  gateway = await TestGateway.start([node], rules({ sandboxes: 10 }));
  const made = (await create({ count: 8 })).json.sandboxes as { id: string; queuePosition?: number }[];
  expect(made.filter(({ queuePosition }) => queuePosition !== undefined)).toHaveLength(6);
  expectRefusal(await create({ count: 3 }), 'quota_exceeded', { quota: 'sandboxes', limit: 10, used: 8 });
  expect((await create({ count: 2 })).status).toBe(201);
  expectRefusal(await create(), 'quota_exceeded', { used: 10 });
  // One of the waiting ones is deleted.
  await gateway.ask('DELETE', `/v1/sandboxes/${made.at(-1)?.id}`);
  expect((await create()).status).toBe(201);
});

test('a request beyond what a tenant may ever have is refused for good', async () => {
  gateway = await TestGateway.start([new FakeNode()], rules({ sandboxes: 5, memoryMb: 2048 }));
  const answer = await create({ count: 6, memoryMb: 16 });
  expect(answer.json.error).toMatchObject({
    code: 'invalid_request',
    retryable: false,
    details: { quota: 'sandboxes', limit: 5, asked: 6 },
  });
  expect((await create({ memoryMb: 4096 })).json.error.details).toMatchObject({ quota: 'memoryMb', limit: 2048 });
});

test('creates beyond the burst are told when to retry', async () => {
  gateway = await TestGateway.start([new FakeNode()], rules({ createsPerSecond: 0.5, createBurst: 3 }));
  for (let i = 0; i < 3; i++) expect((await create()).status).toBe(201);
  const answer = await create();
  expectRefusal(answer, 'rate_limited', { quota: 'createsPerSecond', limit: 0.5 });
  expect(answer.json.error.retryAfterMs).toBeLessThanOrEqual(2_000);
});

test('repeating an idempotency key is not another create, and a refused create leaves its key free', async () => {
  gateway = await TestGateway.start([new FakeNode()], rules({ sandboxes: 1 }));
  const keyed = (key: string) =>
    gateway.ask('POST', '/v1/sandboxes', { body: {}, headers: { 'idempotency-key': key } });
  const first = await keyed('a');
  expect((await keyed('a')).json.id).toBe(first.json.id);
  expect((await keyed('b')).status).toBe(429);
  await gateway.ask('DELETE', `/v1/sandboxes/${first.json.id}`);
  expect((await keyed('b')).status).toBe(201);
});

test('a create that finds the queue full uses up no quota', async () => {
  const node = new FakeNode({ report: { maxSandboxes: 1 } });
  gateway = await TestGateway.start([node], { ...rules({ sandboxes: 4 }), queueMax: 2 });
  for (let i = 0; i < 3; i++) {
    const answer = await create({ count: 4 });
    expect(answer.status).toBe(503);
    expect(answer.json.error.code).toBe('capacity_exhausted');
    expect(answer.headers['retry-after']).toBeDefined();
    // What had been sent to the node is taken back.
    await gateway.until('nothing is left', () =>
      [...node.records.values()].every((record) => record.status === 'TERMINATED'),
    );
  }
  expect((await create({ count: 3 })).status).toBe(201);
});

test('a command that a client is attached to counts, and reading it on is never refused', async () => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node], rules({ execs: 2 }));
  const id = await gateway.sandbox();
  const mux = await gateway.ws();
  const execs = ['exe-one', 'exe-two'].map((exec) => ({ op: 'exec', sandbox: id, command: '{"hang":true}', id: exec }));
  for (const one of execs) {
    const stream = openClientStream(mux, one);
    await stream.opened;
    stream.stream.reset(new ServiceError('cancelled'));
    await gateway.until('it is detached', () => node.execs.all.get(one.id)?.stream === null);
  }
  const attached = execs.map((one) => openClientStream(mux, { op: 'attach', sandbox: id, id: one.id }));
  for (const { opened } of attached) await opened;
  expectRefusal(await gateway.exec(id, {}), 'quota_exceeded', { quota: 'execs', limit: 2, used: 2 });
  const again = openClientStream(mux, { op: 'attach', sandbox: id, id: 'exe-one' });
  await again.opened;
  for (const { id: exec } of execs) node.execs.finish(exec);
  for (const { closed } of [...attached, again]) await closed;
  expect((await gateway.exec(id, {})).status).toBe(200);
});

test('running commands are limited over HTTP and WebSocket together; one that ends makes room', async () => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node], rules({ execs: 2 }));
  const id = await gateway.sandbox();
  const running = gateway.exec(id, { hang: true });
  await node.execs.startedCount(1);
  const mux = await gateway.ws();
  const opened = Promise.withResolvers<void>();
  const stream = mux.open({ op: 'exec', sandbox: id, command: '{"hang":true}' }, { opened: () => opened.resolve() });
  await opened.promise;
  expectRefusal(await gateway.exec(id, {}), 'quota_exceeded', { quota: 'execs', limit: 2, used: 2 });
  const refused = Promise.withResolvers<Error | null>();
  mux.open({ op: 'exec', sandbox: id, command: '{}' }, { closed: (error) => refused.resolve(error) });
  expect(await refused.promise).toMatchObject({ code: 'quota_exceeded' });
  // File calls and status queries are not commands.
  expect((await gateway.ask('GET', `/v1/sandboxes/${id}/execs`)).status).toBe(200);
  node.execs.finish(node.execs.started[0] ?? '');
  expect((await running).status).toBe(200);
  expect((await gateway.exec(id, {})).status).toBe(200);
  stream.end();
  for (const exec of node.execs.started) node.execs.finish(exec);
  await gateway.until('both places are free', () => gateway.services.tenancy.admission.running.size === 0);
});

test("on the Prime API an exceeded limit is a 429 with Retry-After, in that API's form", async () => {
  const bounds = rules({ sandboxes: 1, createsPerSecond: 0.5, createBurst: 1 });
  gateway = await TestGateway.start([new FakeNode()], bounds, [createPrimeDoor()]);
  const primeCreate = () => gateway.ask('POST', '/api/v1/sandbox', { body: { name: 'a', docker_image: 'image' } });
  const made = await primeCreate();
  expect(made.status).toBe(201);
  for (const code of ['quota_exceeded', 'rate_limited']) {
    const refused = await primeCreate();
    expect([refused.status, refused.json.code]).toEqual([429, code]);
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    expect(refused.json.detail).not.toMatch(/\d/);
    await gateway.ask('DELETE', `/api/v1/sandbox/${made.json.id}`);
  }
});

test('no quota message contains a number that could pass for a status', async () => {
  gateway = await TestGateway.start([new FakeNode()], rules({ sandboxes: 1, createsPerSecond: 1, createBurst: 429 }));
  await create();
  const { error } = (await create()).json;
  expect(error.message).not.toMatch(/\d/);
  for (const code of ['quota_exceeded', 'rate_limited', 'capacity_exhausted'] as const) {
    expect(ERRORS[code].message).not.toMatch(/\d/);
  }
});

test('a tenant can look up its limits and its usage', async () => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node], rules({ sandboxes: 9, weight: 2 }));
  node.room = 1;
  await create({ count: 3, cpus: 0.1, memoryMb: 100 });
  const { json } = await gateway.ask('GET', '/v1/tenant');
  expect(json).toEqual({
    tenant: 'default',
    admin: true,
    limits: { sandboxes: 9, cpus: null, memoryMb: null, createsPerSecond: null, createBurst: null, execs: null },
    weight: 2,
    used: { sandboxes: 3, cpus: 0.3, memoryMb: 300, execs: 0 },
  });
});

test('tenants that are not listed share no limit, but each has the defaults', async () => {
  gateway = await TestGateway.start([new FakeNode()], { tenants: parseTenants({ defaults: { sandboxes: 1 } }) });
  expect((await create()).status).toBe(201);
  expect((await create({}, OTHER_KEY)).status).toBe(201);
  expect((await create()).status).toBe(429);
  expect((await create({}, OTHER_KEY)).status).toBe(429);
});

test('reloaded rules and keys apply at once, and sockets of a withdrawn key are closed', async () => {
  gateway = await TestGateway.start([new FakeNode()], rules({ sandboxes: 1 }));
  await create();
  expect((await create()).status).toBe(429);
  const closed = Promise.withResolvers<Error | null>();
  await gateway.ws({ key: OTHER_KEY, onClose: (error) => closed.resolve(error) });
  let mineClosed = false;
  await gateway.ws({ onClose: () => (mineClosed = true) });
  const newKey = { tenant: 'new', admin: false, sha256: createHash('sha256').update('brand-new-key').digest() };
  const kept = TEST_CONFIG.keys.filter(({ tenant }) => tenant === 'default');
  gateway.services.replaceTenants({ ...rules({ sandboxes: 2 }), keys: [...kept, newKey] });
  expect((await create()).status).toBe(201);
  expect((await create()).status).toBe(429);
  expect((await create({}, OTHER_KEY)).status).toBe(401);
  expect((await create({}, 'brand new key')).status).toBe(201);
  await closed.promise;
  expect(mineClosed).toBe(false);
});

test("while a tenant's usage is not yet known, a limited tenant is told to retry", async () => {
  const away = new FakeNode({ name: 'node-b' });
  away.offline = true;
  gateway = await TestGateway.start([new FakeNode(), away], rules({ sandboxes: 5 }));
  const answer = await create();
  expect(answer.json.error).toMatchObject({ code: 'node_unavailable', retryable: true });
  expect((await create({}, OTHER_KEY)).status).toBe(201);
  away.offline = false;
  await gateway.until('all are heard', () => gateway.services.registry.all.every((node) => node.up));
  expect((await create()).status).toBe(201);
});

test('sandboxes from before the gateway started count', async () => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node], rules({ sandboxes: 2 }));
  await gateway.sandbox();
  await gateway.sandbox();
  await using second = await TestGateway.start([node], rules({ sandboxes: 2 }));
  expectRefusal(await second.ask('POST', '/v1/sandboxes', { body: {} }), 'quota_exceeded', { used: 2 });
});

test('a tenant of more weight gets more of the room that becomes free', async () => {
  const node = new FakeNode();
  node.room = 0;
  gateway = await TestGateway.start([node], rules({ weight: 3 }));
  const made = [
    ...(await create({ count: 30 })).json.sandboxes,
    ...(await create({ count: 30 }, OTHER_KEY)).json.sandboxes,
  ];
  const { sandboxes } = gateway.services;
  await gateway.until('all wait', () => made.every(({ id }) => sandboxes.queuePosition(id as string) !== null));
  node.room = 12;
  node.setReport({});
  await gateway.until('the room is taken', () => node.records.size === 12);
  const mine = [...node.records.values()].filter(({ tenant }) => tenant === 'default').length;
  expect(mine).toBeGreaterThanOrEqual(8);
  expect(mine).toBeLessThanOrEqual(10);
});

test('metrics distinguish tenants named in the file, and combine all others', async () => {
  gateway = await TestGateway.start([new FakeNode()], rules({ sandboxes: 2 }));
  for (let i = 0; i < 2; i++) await gateway.sandbox({ cpus: 0.5, memoryMb: 100 });
  await create();
  await create({ count: 3 }, OTHER_KEY);
  const text = (await gateway.ask('GET', '/metrics', { key: null })).bytes.toString();
  for (const line of [
    'millibox_tenant_creates_total{tenant="default"} 2',
    'millibox_tenant_creates_total{tenant="(others)"} 3',
    'millibox_tenant_refusals_total{tenant="default",quota="sandboxes"} 1',
    'millibox_tenant_sandboxes{tenant="default"} 2',
    'millibox_tenant_cpus{tenant="default"} 1',
    'millibox_tenant_memory_megabytes{tenant="default"} 200',
  ]) {
    expect(text).toContain(line);
  }
  expect(text).not.toContain('tenant="other"');
});
