/** Terminals: size, resize, keys, detach and reattach. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Pty, Sandbox } from '../../src/sdk/index.ts';
import { running } from '../helpers/sandbox.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';

const LIMIT_MS = 60_000;
let stack: TestStack;
let sandbox: Sandbox;
beforeAll(async () => {
  stack = await startStack({ pool: 1 });
  sandbox = await stack.client.sandboxes.create({ timeoutMs: 3_600_000 });
});
afterAll(() => stack?.stop());

/** Follows the terminal's output. */
function watch(pty: Pty): { text: () => string; shows: (what: string | RegExp) => Promise<void> } {
  let text = '';
  void (async () => {
    for await (const bytes of pty) text += bytes.toString();
  })().catch(() => undefined);
  return {
    text: () => text,
    shows: async (what) => await expect.poll(() => text, { timeout: LIMIT_MS }).toMatch(what),
  };
}

test('a terminal has the requested size, and a resize reaches the program', async () => {
  const pty = sandbox.pty({
    cols: 120,
    rows: 40,
    command: `trap 'stty size' WINCH; stty size; echo up; while :; do sleep 0.1; done`,
  });
  const screen = watch(pty);
  await screen.shows(/40 120[\s\S]*up/);
  pty.resize(200, 50);
  await screen.shows(/50 200/);
  pty.kill();
  expect((await pty.exit).exitCode).toBeGreaterThanOrEqual(128);
});

test('invalid sizes, and a resize after the end, are harmless', async () => {
  const pty = sandbox.pty({ command: 'read line; echo got $line' });
  const screen = watch(pty);
  await pty.started;
  for (const [cols, rows] of [
    [0, 0],
    [65_535, 65_535],
    [-1, 5],
  ] as const) {
    try {
      pty.resize(cols, rows);
    } catch {
      // Refused here is as good as refused there.
    }
  }
  await pty.write('hello\n');
  await screen.shows(/got hello/);
  expect((await pty.exit).exitCode).toBe(0);
  pty.resize(80, 24);
  expect((await sandbox.exec('echo ok')).stdout).toBe('ok\n');
});

test('Ctrl-C interrupts the foreground process', async () => {
  const pty = sandbox.pty({ command: `trap 'echo interrupted; exit 5' INT; echo up; while :; do sleep 0.1; done` });
  const screen = watch(pty);
  await screen.shows(/up/);
  await pty.write('\x03');
  expect((await pty.exit).exitCode).toBe(5);
  await screen.shows(/interrupted/);
});

test('a detached terminal continues, and attaching shows its output', async () => {
  const pty = sandbox.pty({ command: 'echo before; read line; echo after $line; exit 6', detachedMs: 300_000 });
  const screen = watch(pty);
  await screen.shows(/before/);
  await pty.detach();
  const again = sandbox.attachPty(pty.id);
  const screenAgain = watch(again);
  await screenAgain.shows(/before/);
  await again.write('here\n');
  await screenAgain.shows(/after here/);
  expect((await again.exit).exitCode).toBe(6);
});

test('a kill ends a terminal that nobody reads, whatever it has printed', async () => {
  const ptys = ['yes', 'exec sleep 53198'].map((command) => sandbox.pty({ command }));
  await Promise.all(ptys.map((pty) => pty.started));
  for (const pty of ptys) pty.kill();
  const exits = await Promise.all(ptys.map((pty) => pty.exit));
  for (const { exitCode } of exits) expect(exitCode).toBeGreaterThanOrEqual(128);
});

test('a terminal that prints more than a window ends by itself when its exit is awaited', async () => {
  const lost: { from: number; to: number }[] = [];
  const pty = sandbox.pty({ command: 'seq 200000', onOutputLost: (gap) => lost.push(gap) });
  const { exitCode, stdoutBytes } = await pty.exit;
  expect(exitCode).toBe(0);
  let read = 0;
  for await (const bytes of pty) read += bytes.length;
  expect(lost).toEqual([{ from: read, to: stdoutBytes }]);
});

test('Ctrl-C as a signal goes to the foreground process, other signals to the program itself', async () => {
  const pty = sandbox.pty({
    command: `set -m; trap 'echo got usr1' USR1; sh -c 'trap "echo inner; exit 3" INT; echo up; while :; do sleep 0.1; done'; echo rc=$?; read line`,
  });
  const screen = watch(pty);
  await screen.shows(/up/);
  pty.signal('INT');
  await screen.shows(/inner[\s\S]*rc=3/);
  pty.signal('USR1');
  await screen.shows(/got usr1/);
  pty.kill();
  await pty.exit;
});

test('attaching at an offset shows only later output', async () => {
  const pty = sandbox.pty({
    command: 'stty -echo; echo first; read line; echo second; read line',
    detachedMs: 300_000,
  });
  const screen = watch(pty);
  await screen.shows(/first/);
  await pty.detach();
  const again = sandbox.attachPty(pty.id, { offset: pty.offset });
  const screenAgain = watch(again);
  await again.write('\n');
  await screenAgain.shows(/second/);
  expect(screenAgain.text()).not.toContain('first');
  again.kill();
  await again.exit;
});

test('after two hundred resizes the last one is in effect', async () => {
  const pty = sandbox.pty({ command: 'stty -echo; echo up; read line; stty size' });
  const screen = watch(pty);
  await screen.shows(/up/);
  for (let cols = 1; cols <= 200; cols++) pty.resize(cols, 33);
  await pty.write('\n');
  await screen.shows(/33 200/);
  expect((await pty.exit).exitCode).toBe(0);
});

test('a terminal that nobody reattaches to ends with everything that runs in it', async () => {
  const client = stack.newClient();
  const same = await client.sandboxes.get(sandbox.id);
  const ptys = Array.from({ length: 5 }, () => same.pty({ command: 'sleep 53197', detachedMs: 1_000 }));
  await Promise.all(ptys.map((pty) => pty.started));
  for (const pty of ptys) pty.exit.catch(() => undefined);
  await client.close();
  await expect.poll(() => running(sandbox, 'sleep 53197'), { timeout: LIMIT_MS }).toEqual([]);
});
