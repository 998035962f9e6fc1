/** An id that this gateway does not know: `sandbox_not_found` only if it can be sure. */
import { afterEach, expect, test } from 'vitest';
import { ServiceError } from '../../protocol/errors.ts';
import { FakeNode } from '../testing/fake-node.ts';
import { TestGateway } from '../testing/harness.ts';

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
