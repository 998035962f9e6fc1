/** An id that this gateway does not know: `sandbox_not_found` only if it can be sure. */
import { afterEach, expect, onTestFinished, test, vi } from 'vitest';
import { ServiceError } from '../../protocol/errors.ts';
import { Millibox } from '../../sdk/client.ts';
import { FakeNode } from '../testing/fake-node.ts';
import { KEY, TestGateway } from '../testing/harness.ts';

const GRACE_MS = 20;
const UNKNOWN = 'sbx-00000000000000000000';

let gateway: TestGateway;
afterEach(() => gateway[Symbol.asyncDispose]());

const two = (): [FakeNode, FakeNode] => [new FakeNode({ name: 'node-a' }), new FakeNode({ name: 'node-b' })];
const graceOver = (of: TestGateway) =>
  of.until('the first grace is over', () => !of.services.registry.learningWithin(GRACE_MS));

test('a sandbox of a node that was cut off before this gateway started is never said not to be there', async () => {
  const [a, b] = two();
  gateway = await TestGateway.start([a, b]);
  b.refuse = new ServiceError('capacity_exhausted');
  const id = await gateway.sandbox();
  b.refuse = null;
  a.vanish();
  await using restarted = await TestGateway.start([a, b], { nodeGraceMs: GRACE_MS });
  await graceOver(restarted);
  for (const [method, path, body] of [
    ['GET', '', undefined],
    ['DELETE', '', undefined],
    ['POST', '/exec', { command: 'true' }],
  ] as const) {
    const answer = await restarted.ask(method, `/v1/sandboxes/${id}${path}`, { body });
    expect(answer.status).toBe(503);
    expect(answer.json.error).toMatchObject({ code: 'node_unavailable', retryable: true, retryAfterMs: 1_000 });
  }
  a.offline = false;
  await restarted.until('node-a is heard', () => restarted.services.registry.all.every((node) => node.up));
  expect((await restarted.exec(id, { stdout: 'alive' })).json.stdout).toBe('alive');
  expect((await restarted.ask('GET', `/v1/sandboxes/${UNKNOWN}`)).json.error.code).toBe('sandbox_not_found');
});

test('while it cannot be sure, the sandbox of another tenant looks like one that is not known', async () => {
  const [a, b] = two();
  gateway = await TestGateway.start([a, b]);
  const id = await gateway.sandbox();
  const { node } = gateway.services.sandboxes.get('default', id);
  (node === 'node-a' ? b : a).vanish();
  await gateway.until('a node is away', () => gateway.services.nodes.list().some(({ state }) => state === 'away'));
  const seen = (of: string) => () => gateway.services.sandboxes.get('another', of);
  expect(seen(id)).toThrow(expect.objectContaining({ code: 'node_unavailable' }) as Error);
  expect(seen(UNKNOWN)).toThrow(expect.objectContaining({ code: 'node_unavailable' }) as Error);
});

test('a gateway whose discovery has not answered yet does not say that a sandbox is not there', async () => {
  gateway = await TestGateway.start([new FakeNode()], { nodeGraceMs: GRACE_MS });
  gateway.services.registry.discovering = true;
  const unknown = () => gateway.services.sandboxes.get('default', UNKNOWN);
  expect(unknown).toThrow(expect.objectContaining({ code: 'node_unavailable' }) as Error);
  gateway.services.registry.discovering = false;
  expect(unknown).toThrow(expect.objectContaining({ code: 'sandbox_not_found' }) as Error);
});

/** A gateway that has just started, with a sandbox on each of two nodes, of which it hears only the second. */
async function halfDeaf(): Promise<{ restarted: TestGateway; a: FakeNode; onA: string; onB: string }> {
  const [a, b] = two();
  gateway = await TestGateway.start([a, b]);
  const on = async (other: FakeNode): Promise<string> => {
    other.refuse = new ServiceError('capacity_exhausted');
    const id = await gateway.sandbox({ labels: { job: 'rl' } });
    other.refuse = null;
    return id;
  };
  const [onA, onB] = [await on(b), await on(a)];
  a.vanish();
  return { restarted: await TestGateway.start([a, b]), a, onA, onB };
}

const idsOf = (answer: { json: { sandboxes: { id: string }[] } }) => answer.json.sandboxes.map(({ id }) => id).sort();

test('a gateway that has just started lists nothing before its nodes were heard, or had time to', async () => {
  const { restarted, a, onA, onB } = await halfDeaf();
  await using other = restarted;
  // However long it took to ask it.
  const started = vi.spyOn(other.services.registry, 'startedWithin').mockReturnValue(true);
  const early = await other.ask('GET', '/v1/sandboxes');
  expect(early.status).toBe(503);
  expect(early.json.error).toMatchObject({ code: 'node_unavailable', retryable: true, retryAfterMs: 1_000 });
  expect(early.headers['retry-after']).toBeDefined();
  started.mockReturnValue(false);
  const part = await other.ask('GET', '/v1/sandboxes');
  expect(idsOf(part)).toEqual([onB]);
  expect(part.headers['x-millibox-incomplete']).toBe('true');
  a.offline = false;
  await other.until('node-a is heard', () => other.services.registry.all.every((node) => node.up));
  const all = await other.ask('GET', '/v1/sandboxes');
  expect(idsOf(all)).toEqual([onA, onB].sort());
  expect(all.headers['x-millibox-incomplete']).toBeUndefined();
});

test('a client that lists waits out what a gateway that has just started waits for its nodes', async () => {
  const { restarted, onB } = await halfDeaf();
  await using other = restarted;
  const client = new Millibox({ url: other.url, apiKey: KEY.replaceAll(' ', '-') });
  onTestFinished(() => client.close());
  const ids: string[] = [];
  for await (const { id } of client.sandboxes.list()) ids.push(id);
  expect(ids).toEqual([onB]);
});

test('file calls wait for a node that a gateway has not heard since it started, as commands do', async () => {
  const { restarted, a, onA } = await halfDeaf();
  await using other = restarted;
  const client = new Millibox({ url: other.url, apiKey: KEY.replaceAll(' ', '-') });
  onTestFinished(() => client.close());
  const { files } = client.sandboxes.at(onA);
  const refused = vi.spyOn(other.services.sandboxes, 'entry');
  const calls = [files.stat('/f'), files.read('/f'), files.write('/f', 'text')];
  const failed = Promise.race(calls.map((call) => call.then(() => undefined))).catch((error: unknown) => error);
  await other.until('each was refused', () => refused.mock.results.filter(({ type }) => type === 'throw').length >= 3);
  a.files.all.set('/f', Buffer.from('text'));
  a.offline = false;
  const came = (call: string): boolean => a.files.calls.some((each) => each['call'] === call);
  await other.until('all three came', () => ['stat', 'read', 'write'].every(came));
  expect(await failed).toBeUndefined();
});

test('a delete by label ends what is known, and is not done while a node is not heard', async () => {
  const { restarted, a, onA, onB } = await halfDeaf();
  await using other = restarted;
  const part = await other.ask('DELETE', '/v1/sandboxes?label=job=rl');
  expect(part.status).toBe(503);
  expect(part.json.error).toMatchObject({ code: 'node_unavailable', retryable: true, details: { deleted: 1 } });
  expect((await other.ask('GET', `/v1/sandboxes/${onB}`)).json).toMatchObject({ reason: 'deleted' });
  a.offline = false;
  await other.until('node-a is heard', () => other.services.registry.all.every((node) => node.up));
  expect((await other.ask('DELETE', '/v1/sandboxes?label=job=rl')).json).toEqual({ deleted: 1 });
  expect((await other.ask('GET', `/v1/sandboxes/${onA}`)).json).toMatchObject({ reason: 'deleted' });
});
