/** Parts that freeze for a while, like a suspended machine: this is detected, and nothing is lost. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ExecHandle, ExecResult, Sandbox } from '../../src/sdk/index.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { until } from '../helpers/until.ts';

const LIMIT_MS = 300_000;
const DEAD_MS = 1_000;
const GRACE_MS = 2_000;
const COUNTER = 'i=0; while [ ! -e /tmp/stop ]; do echo $i; i=$((i+1)); sleep 0.1; done; exit 7';

let stack: TestStack;
let sandbox: Sandbox;
beforeAll(async () => {
  const heartbeats = { MILLIBOX_HEARTBEAT_MS: '200', MILLIBOX_LINK_DEAD_MS: String(DEAD_MS) };
  stack = await startStack({
    pool: 1,
    agentEnv: heartbeats,
    gatewayEnv: { ...heartbeats, MILLIBOX_NODE_GRACE_MS: String(GRACE_MS) },
  });
  sandbox = await stack.client.sandboxes.create({ memoryMb: 64 });
  await sandbox.ready();
}, LIMIT_MS);
afterAll(() => stack?.stop(), LIMIT_MS);

interface Counter {
  exec: ExecHandle;
  text(): string;
}

/** Starts a command that counts until it is told to stop. */
async function counting(): Promise<Counter> {
  await sandbox.exec('rm -f /tmp/stop', { check: true });
  let text = '';
  const exec = sandbox.exec(COUNTER, { onStdout: (data) => (text += data) });
  exec.result.catch(() => undefined);
  await until(() => text !== '', LIMIT_MS, 'the first number');
  return { exec, text: () => text };
}

/** Each number once and in order, and the command's own end. */
async function expectWhole(result: PromiseLike<ExecResult>): Promise<void> {
  await sandbox.exec('touch /tmp/stop', { check: true });
  const { exitCode, stdout } = await result;
  const lines = stdout.trimEnd().split('\n');
  expect(lines).toEqual(lines.map((_, i) => String(i)));
  expect(exitCode).toBe(7);
}

const nodeState = async (): Promise<string | undefined> => (await stack.operator.nodes())[0]?.state;

test('an agent that freezes is detected, and has lost nothing when it continues', { timeout: LIMIT_MS }, async () => {
  const { exec } = await counting();
  const [agent = 0] = stack.agentPids;
  process.kill(agent, 'SIGSTOP');
  try {
    await until(async () => (await nodeState()) === 'lost', LIMIT_MS, 'the node to be lost');
    expect((await sandbox.refresh()).reason).toBe('node_lost');
  } finally {
    process.kill(agent, 'SIGCONT');
  }
  await until(async () => (await sandbox.refresh()).status === 'RUNNING', LIMIT_MS, 'the sandbox to be taken back');
  // The caller was told meanwhile that its sandbox is gone. The command is not: its id finds it.
  await expectWhole(
    exec.result.catch(async (error: unknown) => {
      expect(error).toMatchObject({ code: 'sandbox_ended' });
      return await sandbox.attach(exec.id);
    }),
  );
});

test('a gateway that freezes takes no node for lost when it continues', { timeout: LIMIT_MS }, async () => {
  const { exec, text } = await counting();
  process.kill(stack.gatewayPid, 'SIGSTOP');
  // Both ends would have given up long ago; the exact time does not matter.
  await sleep(2 * (DEAD_MS + GRACE_MS));
  process.kill(stack.gatewayPid, 'SIGCONT');
  const states = new Set<string | undefined>();
  const end = performance.now() + DEAD_MS + GRACE_MS;
  while (performance.now() < end) {
    states.add(await nodeState());
    expect((await sandbox.refresh()).status).toBe('RUNNING');
    await sleep(50);
  }
  expect(states).not.toContain('lost');
  const before = text().length;
  await until(() => text().length > before, LIMIT_MS, 'the command to go on');
  await expectWhole(exec);
});
