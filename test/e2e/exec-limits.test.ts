/** The exec contract: timeouts, kills, interrupts and cut-off clients. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Sandbox } from '../../src/sdk/index.ts';
import { running } from '../helpers/sandbox.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';

/** Bounds a hang on a busy machine; the sleeps here are far longer. */
const PROMPT_MS = 60_000;
let stack: TestStack;
let sandbox: Sandbox;
beforeAll(async () => {
  stack = await startStack({ pool: 1 });
  sandbox = await stack.client.sandboxes.create({ timeoutMs: 3_600_000 });
});
afterAll(() => stack?.stop());

const none = (text: string) =>
  expect.poll(() => running(sandbox, text), { timeout: PROMPT_MS, interval: 200 }).toEqual([]);

test('a timeout ends the command with everything it started, and the sandbox stays usable', async () => {
  const first = await sandbox.exec('sleep 98765; echo no', { timeoutMs: 1_000, killGraceMs: 200 });
  expect(first).toMatchObject({ timedOut: true, stdout: '' });
  expect(first.exitCode).not.toBe(0);

  const second = await sandbox.exec('python3 -m http.server 8099 & (sleep 98765 & sleep 98765) | cat', {
    timeoutMs: 1_000,
    killGraceMs: 200,
  });
  expect(second.timedOut).toBe(true);
  await none('sleep 98765');
  await none('http.server');
  expect((await sandbox.exec('echo ok')).stdout).toBe('ok\n');
});

test('a daemon that left its session dies with the command that a timeout ends', async () => {
  const result = await sandbox.exec('setsid sh -c "sleep 97531 & sleep 97531" & sleep 97531', {
    timeoutMs: 1_000,
    killGraceMs: 200,
  });
  expect(result.timedOut).toBe(true);
  await none('sleep 97531');
});

test('a command that ignores TERM is killed after the grace', async () => {
  const result = await sandbox.exec(`trap '' TERM; while :; do sleep 0.1; done`, { timeoutMs: 500, killGraceMs: 300 });
  expect(result).toMatchObject({ timedOut: true, exitCode: 137 });
});

test('what was printed before the limit is kept, and a stream delivers it live', async () => {
  const command = 'for i in 1 2 3; do echo line$i; done; sleep 98765';
  const blocking = await sandbox.exec(command, { timeoutMs: 2_000, killGraceMs: 100 });
  expect(blocking).toMatchObject({ timedOut: true, stdout: 'line1\nline2\nline3\n' });
  let live = '';
  for await (const event of sandbox.exec(command, { timeoutMs: 2_000, killGraceMs: 100 })) {
    if (event.type === 'stdout') live += event.data;
    if (event.type === 'exit') expect(event.timedOut).toBe(true);
  }
  expect(live).toBe('line1\nline2\nline3\n');
});

test('a command that timed out does not wedge the sandbox', async () => {
  await sandbox.exec('cat /dev/zero > /dev/null', { timeoutMs: 500, killGraceMs: 100 });
  for (let i = 0; i < 20; i++) expect((await sandbox.exec('echo ok', { timeoutMs: PROMPT_MS })).stdout).toBe('ok\n');
});

test.each([0, -1, 0.2, Number.NaN, 1e12])(
  'a timeout of %d is refused, never read as none or as the default',
  async (timeoutMs) => {
    const attempt = async (): Promise<unknown> => await sandbox.exec('true', { timeoutMs });
    await expect(attempt()).rejects.toMatchObject({ code: 'invalid_request' });
  },
);

test('kill ends a command with all it started; the result says how', async () => {
  const exec = sandbox.exec('sleep 86420 & sleep 86420');
  await exec.started;
  exec.kill();
  const result = await exec;
  expect(result.exitCode).toBeGreaterThanOrEqual(128);
  expect(result.signal).not.toBeNull();
  await none('sleep 86420');
});

test('a signal reaches the command, which may handle it', async () => {
  let text = '';
  const ready = Promise.withResolvers<void>();
  const exec = sandbox.exec(`trap 'echo got; exit 6' USR1; echo ready; while :; do sleep 0.1; done`, {
    onStdout: (data) => {
      text += data;
      if (text.includes('ready')) ready.resolve();
    },
  });
  await ready.promise;
  exec.signal('USR1');
  expect(await exec).toMatchObject({ exitCode: 6, stdout: 'ready\ngot\n' });
});

test('an aborted call kills its command', async () => {
  const abort = new AbortController();
  const exec = sandbox.exec('sleep 75319', { signal: abort.signal });
  await exec.started;
  abort.abort(new Error('enough'));
  await expect(exec.result).rejects.toThrow('enough');
  await none('sleep 75319');
});

test('the commands of a client that went away are killed once nobody comes back for them', async () => {
  const client = stack.newClient();
  const same = await client.sandboxes.get(sandbox.id);
  const execs = Array.from({ length: 10 }, () =>
    same.exec('while :; do sleep 0.2; : 64208; done', { detachedMs: 1_000 }),
  );
  await Promise.all(execs.map((exec) => exec.started));
  for (const exec of execs) exec.result.catch(() => undefined);
  await client.close();
  await none('64208');
});

test('a client that is cut off and comes back loses nothing', async () => {
  const client = stack.newClient();
  const same = await client.sandboxes.get(sandbox.id);
  const exec = same.exec('for i in 1 2 3 4 5; do echo $i; sleep 0.3; done; exit 4', { detachedMs: 120_000 });
  exec.result.catch(() => undefined);
  await exec.started;
  await client.close();
  expect(await sandbox.attach(exec.id)).toMatchObject({ stdout: '1\n2\n3\n4\n5\n', exitCode: 4 });
});
