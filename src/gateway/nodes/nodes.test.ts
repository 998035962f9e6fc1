/** What a gateway says about sandboxes on nodes that it is not connected to. */
import { afterEach, expect, test, vi } from 'vitest';
import { ServiceError } from '../../protocol/errors.ts';
import { FakeNode } from '../testing/fake-node.ts';
import { TestGateway } from '../testing/harness.ts';

let gateway: TestGateway;
afterEach(() => gateway[Symbol.asyncDispose]());

const two = (): [FakeNode, FakeNode] => [new FakeNode({ name: 'node-a' }), new FakeNode({ name: 'node-b' })];
const status = async (id: string) => (await gateway.ask('GET', `/v1/sandboxes/${id}`)).json;

test("a lost node's sandboxes end, and creates go to the other node", async () => {
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

test('a lost node that comes back has its sandboxes again; those deleted meanwhile are removed', async () => {
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
  // What its node knows about an end overrides a guess.
  expect(await status(died)).toMatchObject({ status: 'ERROR', reason: 'oom' });
  expect(gateway.services.nodes.list()[0]?.sandboxes).toBe(1);
});

test("when one gateway's link is cut for long, users of another gateway notice nothing", async () => {
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

test('a node that comes back within the grace period has lost nothing', async () => {
  const [a] = two();
  gateway = await TestGateway.start([a]);
  const ids = (await gateway.ask('POST', '/v1/sandboxes?waitMs=20000', { body: { count: 50 } })).json.sandboxes.map(
    (s: { id: string }) => s.id,
  );
  a.vanish();
  await gateway.until('it is away', () => gateway.services.nodes.list()[0]?.state === 'away');
  const { status: ready, json } = await gateway.ask('GET', '/readyz');
  expect([ready, json.error.code]).toEqual([503, 'node_unavailable']);
  const exec = gateway.exec(ids[7], { stdout: 'waited' });
  a.offline = false;
  expect((await exec).json.stdout).toBe('waited');
  for (const id of ids) expect((await status(id)).status).toBe('RUNNING');
});

test('a starting gateway learns of all sandboxes from the nodes, ended ones included', async () => {
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
  // And from then on of the other gateway's changes.
  const later = await gateway.sandbox();
  await second.until('it has heard of it', () =>
    second.services.sandboxes.list('default').sandboxes.some((s) => s.id === later),
  );
});

test('a gateway that is not connected to all nodes yet does not report a sandbox as missing', async () => {
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
  // It keeps talking: silence alone would prove nothing.
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

test('setting the clock loses no node', async () => {
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

test('a sandbox that its node no longer has when it comes back has ended', async () => {
  const [a] = two();
  gateway = await TestGateway.start([a]);
  const id = await gateway.sandbox();
  a.vanish();
  a.records.delete(id);
  a.offline = false;
  await gateway.until('it has ended', () => gateway.services.sandboxes.get('default', id).status === 'ERROR');
  expect(await status(id)).toMatchObject({ reason: 'node_lost' });
});
