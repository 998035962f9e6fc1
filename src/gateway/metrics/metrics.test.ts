import { afterEach, expect, test, vi } from 'vitest';
import { FakeNode } from '../testing/fake-node.ts';
import { TestGateway } from '../testing/harness.ts';

let gateway: TestGateway;
afterEach(() => gateway[Symbol.asyncDispose]());

/** Values of all samples, by name and labels as Prometheus reads them. */
async function scrape(): Promise<Map<string, number>> {
  const answer = await gateway.ask('GET', '/metrics', { key: null });
  expect(answer.headers['content-type']).toMatch(/^text\/plain/);
  const samples = [...answer.bytes.toString().matchAll(/^(\w+(?:\{[^}]*\})?) (\S+)$/gm)];
  return new Map(samples.map(([, name = '', value]) => [name, Number(value)]));
}

test('counts creates, warm hits and misses, commands by outcome, and times each of their phases', async () => {
  const node = new FakeNode({ autoRun: false });
  gateway = await TestGateway.start([node]);
  const ids: string[] = [];
  for (const warm of [true, true, false]) {
    const id = (await gateway.ask('POST', '/v1/sandboxes', { body: {} })).json.id as string;
    await gateway.until('the node has it', () => node.records.has(id));
    const timings = { placedMs: 1, claimedMs: 2, runningMs: 3, warm };
    node.set(id, { status: 'RUNNING', startedAtMs: Date.now(), timings });
    ids.push(id);
  }
  const [id = ''] = ids;
  await gateway.exec(id, { stdout: 'a' });
  await gateway.exec(id, { timedOut: true });
  await gateway.exec(id, { refuse: 'exec_program_not_found' });

  const seen = await scrape();
  expect(seen.get('millibox_creates_total')).toBe(3);
  expect(seen.get('millibox_placements_total{outcome="accepted"}')).toBe(3);
  expect(seen.get('millibox_claims_total{result="hit"}')).toBe(2);
  expect(seen.get('millibox_claims_total{result="miss"}')).toBe(1);
  expect(seen.get('millibox_execs_total{outcome="exit"}')).toBe(1);
  expect(seen.get('millibox_execs_total{outcome="timeout"}')).toBe(1);
  expect(seen.get('millibox_execs_total{outcome="error"}')).toBe(1);
  for (const phase of ['create_placed', 'create_claimed', 'create_running']) {
    expect(seen.get(`millibox_phase_seconds_count{phase="${phase}"}`), phase).toBe(3);
  }
  for (const phase of ['exec_queue', 'exec_run', 'exec_total']) {
    expect(seen.get(`millibox_phase_seconds_count{phase="${phase}"}`), phase).toBe(2);
  }
  expect(seen.get('millibox_phase_seconds_sum{phase="create_running"}')).toBeCloseTo(0.009);
});

test('counts the outcome of a sandbox once, however often it changes', async () => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node]);
  const [id, bystander] = [await gateway.sandbox(), await gateway.sandbox()];
  const changed = vi.fn();
  gateway.services.sandboxes.subscribe('default', changed);
  const warm = { placedMs: 1, claimedMs: 2, runningMs: 3, warm: true };
  for (const expiresAtMs of [1, 2, 3])
    node.set(bystander, { timings: warm, expiresAtMs: Date.now() + expiresAtMs * 60_000 });
  await gateway.ask('DELETE', `/v1/sandboxes/${id}`);
  for (const message of ['one', 'two']) node.set(id, { status: 'TERMINATED', reason: 'deleted', message });
  await gateway.until('it has heard of all', () => changed.mock.calls.length >= 4);
  const seen = await scrape();
  expect(seen.get('millibox_sandboxes_ended_total{reason="deleted"}')).toBe(1);
  expect(seen.get('millibox_phase_seconds_count{phase="create_running"}')).toBe(2);
});

test('a sandbox waiting on a node that is away is no longer counted', async () => {
  const node = new FakeNode({ report: { pools: [{ key: '*', warm: 5, starting: 0, target: 5 }] } });
  gateway = await TestGateway.start([node]);
  expect((await scrape()).get('millibox_pool_containers{state="warm"}')).toBe(5);
  node.offline = true;
  node.vanish();
  await gateway.until('it is away', () => gateway.services.nodes.list()[0]?.state === 'away');
  expect((await scrape()).get('millibox_pool_containers{state="warm"}')).toBe(0);
});

test('shows pools and their targets, nodes by state, bytes of the links, and event loop lag', async () => {
  const pool = (key: string, warm: number) => ({ key, warm, starting: 1, target: 20 });
  const nodes = [
    new FakeNode({ name: 'node-a', report: { pools: [pool('*', 12)] } }),
    new FakeNode({ name: 'node-b', report: { pools: [pool('one', 3), pool('two', 4)], draining: true } }),
  ];
  gateway = await TestGateway.start(nodes);
  const before = await scrape();
  expect(before.get('millibox_pool_containers{state="warm"}')).toBe(19);
  expect(before.get('millibox_pool_containers{state="starting"}')).toBe(3);
  expect(before.get('millibox_pool_containers{state="target"}')).toBe(60);
  expect(before.get('millibox_nodes{state="ready"}')).toBe(1);
  expect(before.get('millibox_nodes{state="draining"}')).toBe(1);
  for (const quantile of ['0.5', '0.99', '1']) {
    expect(before.get(`millibox_event_loop_lag_seconds{quantile="${quantile}"}`)).toBeGreaterThanOrEqual(0);
  }

  await gateway.exec(await gateway.sandbox(), { stdout: 'x'.repeat(10_000) });
  const after = await scrape();
  const more = (name: string): number => (after.get(name) ?? NaN) - (before.get(name) ?? NaN);
  expect(more('millibox_link_bytes{direction="in"}')).toBeGreaterThan(10_000);
  expect(more('millibox_link_bytes{direction="out"}')).toBeGreaterThan(0);
});
