import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createPrimeDoor } from './doors/prime/door.ts';
import { FakeNode } from './testing/fake-node.ts';
import { TestGateway } from './testing/harness.ts';

let gateway: TestGateway;
beforeAll(async () => {
  const unheard = new FakeNode({ name: 'unheard' });
  unheard.offline = true;
  gateway = await TestGateway.start([new FakeNode(), unheard], {}, [createPrimeDoor()]);
  vi.spyOn(gateway.services.registry, 'startedWithin').mockReturnValue(false);
});
afterAll(async () => {
  vi.restoreAllMocks();
  await gateway[Symbol.asyncDispose]();
});

test.each([
  ['/v1/sandboxes', 200, 'true'],
  ['/v1/nodes', 200, 'true'],
  ['/v1/tenant', 200, 'true'],
  ['/api/v1/sandbox', 200, 'true'],
  ['/api/v1/sandbox/expose/all', 200, 'true'],
  ['/v1/pools', 200, 'true'],
  ['/v1/images', 200, 'true'],
  ['/api/v1/user/whoami', 200, undefined],
  ['/api/v1/template/registry-credentials', 200, undefined],
  ['/healthz', 200, undefined],
  ['/readyz', 200, undefined],
  ['/metrics', 200, undefined],
  ['/openapi.json', 200, undefined],
  ['/v1/sandboxes?limit=none', 400, undefined],
  ['/v1/unknown', 404, undefined],
  ['/%zz', 400, undefined],
])('only an answer about all sandboxes is marked as incomplete: %s', async (path, status, incomplete) => {
  const answer = await gateway.ask('GET', path);
  expect(answer.status).toBe(status);
  expect(answer.headers['x-millibox-incomplete']).toBe(incomplete);
});

test('nor is the answer to a caller without a key', async () => {
  const answer = await gateway.ask('GET', '/v1/sandboxes', { key: null });
  expect(answer.status).toBe(401);
  expect(answer.headers['x-millibox-incomplete']).toBeUndefined();
});

test.each(['/healthz', '/readyz', '/metrics'])('a load balancer may ask with HEAD: %s', async (path) => {
  expect((await gateway.ask('HEAD', path, { key: null })).status).toBe(200);
});
