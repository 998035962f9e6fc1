/** Parts are killed and restarted: sandboxes and their commands do not notice. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ExecHandle, Sandbox } from '../../src/sdk/index.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';

const SANDBOXES = 50;
const LIMIT_MS = 300_000;
/** Counts up until it is told to stop, so that its output shows whether anything was lost or run twice. */
const COUNTER = 'i=0; while [ ! -e /tmp/stop ]; do echo $i; i=$((i+1)); sleep 0.2; done; exit 7';

let stack: TestStack;
let sandboxes: Sandbox[];
beforeAll(async () => {
  stack = await startStack({ pool: 10 });
  sandboxes = await Promise.all(
    stack.client.sandboxes.createMany(SANDBOXES, { memoryMb: 64, labels: { restart: 'all' } }).map(async (each) => {
      await each.exec('echo $$ > /tmp/first; mkdir /tmp/started', { check: true });
      return await each;
    }),
  );
}, LIMIT_MS);
afterAll(() => stack?.stop(), LIMIT_MS);

/** Starts the counter in some sandboxes and waits for the first output of each. */
async function startCounters(count: number): Promise<{ sandbox: Sandbox; exec: ExecHandle; lines: () => string[] }[]> {
  return await Promise.all(
    sandboxes.slice(0, count).map(async (sandbox) => {
      await sandbox.exec('rm -f /tmp/stop', { check: true });
      let text = '';
      const heard = Promise.withResolvers<void>();
      const exec = sandbox.exec(COUNTER, {
        onStdout: (data) => {
          text += data;
          heard.resolve();
        },
      });
      await Promise.race([heard.promise, exec.result.then(() => Promise.reject(new Error('ended early')))]);
      return { sandbox, exec, lines: () => text.trimEnd().split('\n') };
    }),
  );
}

async function endCounters(counters: Awaited<ReturnType<typeof startCounters>>): Promise<void> {
  for (const { sandbox, exec, lines } of counters) {
    const before = lines().length;
    // It continues: new lines keep coming.
    await expect.poll(() => lines().length, { timeout: LIMIT_MS }).toBeGreaterThan(before);
    await sandbox.exec('touch /tmp/stop', { check: true });
    const { exitCode } = await exec;
    expect(exitCode).toBe(7);
    // Every number once and in order: nothing lost, nothing run twice.
    expect(lines()).toEqual(lines().map((_, i) => String(i)));
  }
}

async function allThere(): Promise<void> {
  const listed: string[] = [];
  for await (const { info } of stack.client.sandboxes.list({ labels: { restart: 'all' }, status: 'RUNNING' })) {
    listed.push(info.id);
  }
  expect(listed.toSorted()).toEqual(sandboxes.map(({ id }) => id).toSorted());
  await Promise.all(sandboxes.map((sandbox) => sandbox.exec('test -d /tmp/started', { check: true })));
}

test(
  'kill -9 of the agent: after its restart all sandboxes are there and commands went on',
  { timeout: LIMIT_MS },
  async () => {
    const counters = await startCounters(10);
    await stack.killAgent();
    stack.restartAgent();
    await stack.ready();
    await endCounters(counters);
    await allThere();
  },
);

test(
  'kill -9 of the gateway: after its restart all sandboxes are there and commands went on',
  { timeout: LIMIT_MS },
  async () => {
    const counters = await startCounters(10);
    await stack.killGateway();
    stack.restartGateway();
    await stack.ready();
    await endCounters(counters);
    await allThere();
  },
);

test(
  'a command that ended while the agent was away is not lost: its output and exit are told',
  { timeout: LIMIT_MS },
  async () => {
    const sandbox = sandboxes[0] as Sandbox;
    const exec = sandbox.exec('echo before; sleep 1; echo after; exit 5');
    await exec.started;
    await stack.killAgent();
    stack.restartAgent();
    expect(await exec).toMatchObject({ exitCode: 5, stdout: 'before\nafter\n' });
  },
);

test('deleting all of them afterwards leaves none of their containers', { timeout: LIMIT_MS }, async () => {
  expect(await stack.client.sandboxes.deleteByLabel({ restart: 'all' }, { deadlineMs: LIMIT_MS })).toBe(SANDBOXES);
  for (const sandbox of sandboxes.slice(0, 3)) expect((await sandbox.refresh()).reason).toBe('deleted');
});
