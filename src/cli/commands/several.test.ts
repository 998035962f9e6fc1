/** Commands of operators that take several items. */
import { expect, test } from 'vitest';
import { cli, fakeService, type Answer } from '../testing/fake-service.ts';

const node = (name: string) => ({
  name,
  state: 'ready',
  runtime: 'oci',
  sandboxes: 0,
  maxSandboxes: 1,
  ejectedMs: 0,
  drainDeadline: null,
});
const failure = (status: number, code: string): Answer => ({ status, body: { error: { code, message: 'no' } } });

/** Knows everything but what is called `gone`. */
const service = () =>
  fakeService(({ url, body }) => {
    if (`${url}${body}`.includes('gone')) return failure(404, 'not_found');
    if (url.startsWith('/v1/nodes/')) return { body: node(url.split('/')[3] ?? '') };
    return { body: { nodes: [{ node: 'n', ok: true, error: null }] } };
  });

test.each([
  [['node', 'cordon'], 2],
  [['node', 'uncordon'], 3],
  [['image', 'pull'], 2],
  [['image', 'rm'], 2],
])('%s: an item that fails keeps no other from being done', async (command, requests) => {
  const asked = await service();
  const { code, stdout, stderr } = await cli(asked, [...command, 'gone', 'there']);
  expect({ code, stderr }).toEqual({ code: 1, stderr: 'millibox: gone: no (not_found)\n' });
  expect(stdout).toMatch(/^there {2}/);
  expect(asked.requests.length).toBe(requests);
});

test('the only item fails like any command', async () => {
  expect(await cli(await service(), ['image', 'rm', 'gone'])).toMatchObject({
    code: 255,
    stderr: 'millibox: no (not_found)\n',
  });
});

test('a failure that every item would have ends the command', async () => {
  const asked = await fakeService(() => failure(401, 'unauthenticated'));
  expect(await cli(asked, ['node', 'cordon', 'a', 'b'])).toMatchObject({ code: 255 });
  expect(asked.requests.length).toBe(1);
});
