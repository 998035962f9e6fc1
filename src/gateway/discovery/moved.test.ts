import { expect, test } from 'vitest';
import { FakeNode } from '../testing/fake-node.ts';
import { TestGateway } from '../testing/harness.ts';

const LIMIT = { timeout: 20_000 };

test('an agent that discovery finds at another address under its name keeps its sandboxes', async () => {
  const [old, moved] = [new FakeNode({ url: 'ws://old' }), new FakeNode({ url: 'ws://new' })];
  moved.offline = true;
  await using gateway = await TestGateway.start([old, moved]);
  const id = await gateway.sandbox();
  old.vanish();
  for (const [key, record] of old.records) moved.records.set(key, record);
  moved.offline = false;
  await expect.poll(async () => (await gateway.exec(id, { stdout: 'here' })).json.stdout, LIMIT).toBe('here');
  expect(moved.deleted).toEqual([]);
  expect(gateway.services.nodes.list().map(({ name, state }) => [name, state])).toEqual([['node-a', 'ready']]);
});
