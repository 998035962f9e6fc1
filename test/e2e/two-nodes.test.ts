/** Two nodes, one of which is lost for good. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startStack, type TestStack } from '../helpers/stack.ts';

const LIMIT_MS = 300_000;
let stack: TestStack;
beforeAll(async () => {
  stack = await startStack({ agents: 2, pool: 4, gatewayEnv: { MILLIBOX_NODE_GRACE_MS: '3000' } });
}, LIMIT_MS);
afterAll(() => stack?.stop(), LIMIT_MS);

test(
  'sandboxes of a node that is lost end as node_lost, others live, and creates go to the other node',
  { timeout: LIMIT_MS },
  async () => {
    const made = await Promise.all(stack.client.sandboxes.createMany(12, { memoryMb: 64 }).map((each) => each.ready()));
    const on = (node: string): string[] => made.filter((each) => each.node === node).map(({ id }) => id);
    // Both nodes were used.
    expect(on('node-1').length).toBeGreaterThan(0);
    expect(on('node-2').length).toBeGreaterThan(0);

    const running = (await stack.client.sandboxes.get(on('node-2')[0] as string)).exec('sleep 600').result;
    running.catch(() => undefined);
    await stack.killAgent(1);

    for (const id of on('node-2')) {
      const sandbox = await stack.client.sandboxes.get(id);
      await expect.poll(async () => (await sandbox.refresh()).reason, { timeout: 120_000 }).toBe('node_lost');
      expect((await sandbox.refresh()).status).toBe('ERROR');
    }
    // A command there ends with an error that blames the platform, never with an exit code.
    await expect(running).rejects.toMatchObject({ name: 'MilliboxError' });

    for (const id of on('node-1')) {
      const sandbox = await stack.client.sandboxes.get(id);
      expect((await sandbox.exec('echo alive')).stdout).toBe('alive\n');
    }
    const fresh = await Promise.all(stack.client.sandboxes.createMany(6, { memoryMb: 64 }).map((each) => each.ready()));
    expect(new Set(fresh.map(({ node }) => node))).toEqual(new Set(['node-1']));
  },
);
