/** An operator drains a node. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cli } from '../helpers/cli.ts';
import { sandboxesOn } from '../helpers/sandboxes-on.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { until } from '../helpers/until.ts';

const LIMIT_MS = 300_000;

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack({ gateways: 2, agents: 2, pool: 1, agentEnv: { MILLIBOX_ON_STOP: 'keep' } });
}, LIMIT_MS);
afterAll(() => stack?.stop(), LIMIT_MS);

/** Resolves once the first node is in this state, as seen by each gateway. */
async function bothSee(state: string): Promise<void> {
  for (const gateway of [0, 1]) {
    const states = async (): Promise<string[]> =>
      (await stack.operatorOf(gateway).nodes()).filter(({ name }) => name === 'node-1').map((node) => node.state);
    await until(async () => (await states())[0] === state, LIMIT_MS, `gateway ${gateway + 1} to see ${state}`);
  }
}

test(
  'a drain keeps new sandboxes away and outlives restarts; at its deadline what is left ends, and it can be undone',
  { timeout: LIMIT_MS },
  async () => {
    const onFirst = await sandboxesOn(stack, 'node-1', 3);
    const [onSecond] = await sandboxesOn(stack, 'node-2', 1);

    const told = await cli(stack, ['node', 'drain', 'node-1', '--no-wait']);
    expect(told).toMatchObject({ code: 0, stderr: '' });
    expect(told.stdout.toString()).toContain(`draining  ${onFirst.length} sandboxes`);
    await bothSee('draining');
    await Promise.all([stack.killGateway('SIGTERM', 0), stack.killAgent(0, 'SIGTERM')]);
    stack.restartGateway(0);
    stack.restartAgent(0);
    await bothSee('draining');

    const fresh = await Promise.all(stack.client.sandboxes.createMany(3, { memoryMb: 64 }).map((each) => each.ready()));
    expect(new Set(fresh.map(({ node }) => node))).toEqual(new Set(['node-2']));
    for (const sandbox of onFirst) expect((await sandbox.exec('echo on')).stdout).toBe('on\n');

    await onFirst[0]?.delete();
    const drained = await cli(stack, ['node', 'drain', 'node-1', '--deadline', '1s']);
    expect(drained).toMatchObject({ code: 0, stderr: '' });
    expect(drained.stdout.toString().trimEnd().split('\n').at(-1)).toBe('node-1  drained');
    for (const sandbox of onFirst.slice(1)) {
      const ended = await sandbox.refresh();
      expect(ended).toMatchObject({ status: 'ERROR', reason: 'node_drained' });
      expect(ended.message).toContain('drained');
      await expect(sandbox.exec('true').result).rejects.toMatchObject({ code: 'sandbox_ended' });
    }
    expect((await onSecond?.exec('echo untouched'))?.stdout).toBe('untouched\n');

    const undone = await cli(stack, ['node', 'uncordon', 'node-1']);
    expect(undone.stdout.toString()).toContain('node-1  ready');
    await bothSee('ready');
  },
);

test('a cordon keeps new sandboxes away until it is removed', { timeout: LIMIT_MS }, async () => {
  expect((await cli(stack, ['node', 'cordon', 'node-2'])).code).toBe(0);
  await until(
    async () =>
      (await stack.operatorOf(1).nodes()).some(({ name, state }) => name === 'node-2' && state === 'cordoned'),
    LIMIT_MS,
    'the other gateway to see it',
  );
  // One of the named gateways does not exist.
  const several = { url: `http://127.0.0.1:1,${stack.urls.join(',')}`, apiKey: stack.apiKey };
  expect((await cli(several, ['node', 'ls'])).stdout.toString()).toMatch(/node-2\s+cordoned/);
  expect((await cli(several, ['ls', '-a'])).code).toBe(0);
  const made = await Promise.all(stack.client.sandboxes.createMany(3, { memoryMb: 64 }).map((each) => each.ready()));
  expect(new Set(made.map(({ node }) => node))).toEqual(new Set(['node-1']));
  expect((await cli(stack, ['node', 'uncordon', 'node-2'])).stdout.toString()).toContain('node-2  ready');
});
