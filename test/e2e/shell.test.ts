/** `millibox shell` and `exec -t` in a real terminal. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Sandbox } from '../../src/sdk/index.ts';
import { CLI_MAIN, cli } from '../helpers/cli.ts';
import { HostTerminal } from '../helpers/host-terminal.ts';
import { running } from '../helpers/sandbox.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { until } from '../helpers/until.ts';

const LIMIT_MS = 60_000;
let stack: TestStack;
let sandbox: Sandbox;
beforeAll(async () => {
  stack = await startStack({ pool: 2 });
  sandbox = await stack.client.sandboxes.create({ timeoutMs: 3_600_000 });
});
afterAll(() => stack?.stop());

/** The CLI in a terminal: prints its pid first, then its exit code and whether the terminal was restored. */
function open(args: readonly string[], size?: { cols: number; rows: number }): HostTerminal {
  const words = [process.execPath, CLI_MAIN, ...args].map((word) => `'${word}'`).join(' ');
  const script = `was=$(stty -g); (sh -c 'echo pid=$PPID.'; exec ${words}); echo rc=$?.
    [ "$was" = "$(stty -g)" ] && echo as it was || echo changed`;
  return new HostTerminal(script, { MILLIBOX_URL: stack.url, MILLIBOX_API_KEY: stack.apiKey }, size);
}

const pidOf = async (terminal: HostTerminal): Promise<number> => Number((await terminal.shows(/pid=(\d+)\./))[1]);

/** Waits for the end, and expects a restored terminal. Returns the exit code. */
async function restored(terminal: HostTerminal): Promise<number> {
  const [, code, how] = await terminal.shows(/rc=(\d+)\.\s+(as it was|changed)/);
  await terminal.ended();
  expect(how).toBe('as it was');
  return Number(code);
}

const UP = ['--', 'sh', '-c', 'echo up; exec sleep 41293'];

describe('our terminal is restored', () => {
  test('when the program ends, with its exit code', async () => {
    await using terminal = open(['shell', sandbox.id, '--', 'sh', '-c', 'stty size; read line; exit 7']);
    await terminal.shows(/30 100/);
    terminal.type('\r');
    expect(await restored(terminal)).toBe(7);
  });

  test('when a signal ends the CLI; the program continues', async () => {
    const signals = { SIGTERM: 143, SIGHUP: 129, SIGINT: 130, SIGQUIT: 131 } as const;
    const end = async (signal: keyof typeof signals): Promise<void> => {
      await using terminal = open(['shell', sandbox.id, ...UP]);
      await terminal.shows(/up/);
      process.kill(await pidOf(terminal), signal);
      expect(await restored(terminal)).toBe(signals[signal]);
      const [, exec = ''] = await terminal.shows(/-a (exe-\S+)/);
      const job = sandbox.jobs.get(exec);
      expect((await job.state()).state).toBe('running');
      await job.signal('KILL', { all: true });
    };
    await Promise.all((['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT'] as const).map(end));
  });

  test('when the sandbox is deleted', async () => {
    const other = await stack.client.sandboxes.create();
    await using terminal = open(['shell', other.id, ...UP]);
    await terminal.shows(/up/);
    await other.delete();
    expect(await restored(terminal)).toBe(255);
    expect(terminal.text).toMatch(/\nmillibox: .*sandbox_ended/);
  });

  test('when another user of the same terminal takes it over', async () => {
    const pty = sandbox.pty({ command: 'echo up; exec sleep 41294', detachedMs: 600_000 });
    await pty.started;
    await pty.detach();
    await using terminal = open(['shell', sandbox.id, '-a', pty.id]);
    await terminal.shows(/up/);
    const other = sandbox.attachPty(pty.id);
    await other.started;
    expect(await restored(terminal)).toBe(255);
    other.kill();
  });
});

test('resizing the window resizes the terminal', async () => {
  await using terminal = open(['shell', sandbox.id, '--', 'sh', '-c', 'stty size; read line; stty size; read line']);
  await terminal.shows(/30 100/);
  await terminal.resize(132, 43);
  // The program is notified some time after us: querying it in the sandbox is never too early.
  await until(() => sizeInside('read line'), LIMIT_MS, 'the size to arrive');
  terminal.type('\r');
  await terminal.shows(/43 132/);
  terminal.type('\r');
  expect(await restored(terminal)).toBe(0);
});

/** Whether the program's terminal has the size 43 x 132. */
async function sizeInside(program: string): Promise<boolean> {
  const look = `for p in /proc/[0-9]*; do
    tr '\\0' ' ' < $p/cmdline | grep -q "$1" && stty size < $p/fd/0; done 2>/dev/null; true`;
  return (await sandbox.exec(['sh', '-c', look, 'look', program])).stdout.includes('43 132');
}

test('the printed command for reattaching to a terminal works, and the program redraws the screen', async () => {
  const draws = 'trap "echo drawn" WINCH; echo up; while :; do sleep 0.1; done';
  await using first = open(['shell', sandbox.id, '--', 'sh', '-c', draws]);
  await first.shows(/up/);
  first.type('\x10');
  first.type('\x11');
  expect(await restored(first)).toBe(0);
  const [, words = ''] = await first.shows(/back to it with: millibox (.*\S)/);

  await using second = open(words.split(' '));
  await second.shows(/up[\s\S]*drawn/);
  second.type('\x03');
  expect(await restored(second)).toBe(130);
});

test('a Ctrl-Z belongs to the program', async () => {
  const program = 'trap "echo told; exit 6" TSTP; echo up; while :; do sleep 0.1; done';
  await using terminal = open(['shell', sandbox.id, '--', 'sh', '-c', program]);
  await terminal.shows(/up/);
  terminal.type('\x1a');
  await terminal.shows(/told/);
  expect(await restored(terminal)).toBe(6);
});

test('suspended from outside it restores our terminal, and takes it again when continued', async () => {
  const program = 'trap "echo drawn" WINCH; echo up; while :; do read line && echo "got $line"; done';
  await using terminal = open(['shell', sandbox.id, '--', 'sh', '-c', program]);
  await terminal.shows(/up/);
  const pid = await pidOf(terminal);
  const [tty] = await terminal.shows(/\/dev\/pts\/\d+/);
  expect(modesOf(tty)).toMatch(/ -icanon/);
  process.kill(pid, 'SIGTSTP');
  await until(() => stateOf(pid) === 'T', LIMIT_MS, 'the CLI to stop');
  expect(modesOf(tty)).toMatch(/ icanon/);
  const before = terminal.text.length;
  process.kill(pid, 'SIGCONT');
  await until(() => / -icanon/.test(modesOf(tty)), LIMIT_MS, 'the terminal to be raw');
  await until(() => terminal.text.slice(before).includes('drawn'), LIMIT_MS, 'the screen to be drawn anew');
  terminal.type('one\r');
  await terminal.shows(/got one/);
  terminal.type('\x03');
  expect(await restored(terminal)).toBe(130);
});

const modesOf = (tty: string): string => execFileSync('stty', ['-F', tty, '-a']).toString();
const stateOf = (pid: number): string | undefined =>
  readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.charAt(0);

test('reattaching too late for all of the output reports how much is lost', async () => {
  const pty = sandbox.pty({ id: 'passed', command: 'seq 100000; exit 8', ringBytes: 4096 });
  expect((await pty.exit).exitCode).toBe(8);
  await using terminal = open(['shell', sandbox.id, '-a', pty.id]);
  await terminal.shows(/millibox: \d{6} bytes of the output were discarded here[\s\S]*100000/);
  expect(await restored(terminal)).toBe(8);
});

test('closing a window leaves its terminal running', async () => {
  const before = await ids();
  const terminal = open(['shell', sandbox.id, ...UP]);
  await terminal.shows(/up/);
  const pid = await pidOf(terminal);
  await terminal.close();
  await until(() => !isAlive(pid), LIMIT_MS, 'the CLI to end');
  const [left = ''] = (await ids()).filter((id) => !before.includes(id));
  const back = sandbox.attachPty(left);
  await back.started;
  back.kill();
});

const ids = async (): Promise<string[]> => (await sandbox.jobs.list()).map(({ execId }) => execId);

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test('a Ctrl-P without a Ctrl-Q reaches the program without waiting for another key', async () => {
  await using terminal = open(['shell', sandbox.id, '--', 'sh', '-c', 'stty raw; echo up; head -c 1 | od -An -tx1']);
  await terminal.shows(/up/);
  terminal.type('\x10');
  await terminal.shows(/ 10\s/);
  expect(await restored(terminal)).toBe(0);
});

test('end-of-file on a pipe ends the shell, even in the middle of a line', async () => {
  const inputs = ['echo $((1 + 41))\n', 'echo $((1 + 41))', '', 'cat\n'];
  await Promise.all(
    inputs.map(async (input) => {
      const { code, stdout } = await cli(stack, ['shell', sandbox.id], input);
      expect(code).toBe(0);
      if (input.startsWith('echo')) expect(stdout.toString()).toContain('42');
    }),
  );
});

test('detach keys in a file are ordinary bytes', async () => {
  const { stdout } = await cli(
    stack,
    ['shell', sandbox.id, '--', 'sh', '-c', 'stty raw -echo; od -An -tx1 -N4'],
    'a\x10\x11b',
  );
  expect(stdout.toString()).toMatch(/61 10 11 62/);
});

describe('exec -t', () => {
  test('ends its command with itself', async () => {
    const end = async (leave: (terminal: HostTerminal) => void): Promise<number> => {
      await using terminal = open(['exec', '-t', sandbox.id, '--', 'sh', '-c', 'echo up; exec sleep 41295']);
      await terminal.shows(/up/);
      leave(terminal);
      return await restored(terminal);
    };
    const hangUp = async (terminal: HostTerminal) => process.kill(await pidOf(terminal), 'SIGHUP');
    expect(await Promise.all([end((terminal) => terminal.type('\x10\x11')), end(hangUp)])).toEqual([0, 129]);
    await until(async () => (await running(sandbox, 'sleep 41295')).length === 0, LIMIT_MS, 'the commands to end');
  });

  test('ends with 124 at its time limit', async () => {
    await using terminal = open(['exec', '-t', '--timeout', '300ms', sandbox.id, '--', 'sleep', '41296']);
    expect(await restored(terminal)).toBe(124);
  });
});

test('a list is never wider than the terminal, and never shortened without one', async () => {
  const labels = { purpose: 'a label that is long enough to be wider than any terminal that people have' };
  await using labelled = await stack.client.sandboxes.create({ labels });
  await using terminal = open(['ls'], { cols: 60, rows: 24 });
  expect(await restored(terminal)).toBe(0);
  const lines = terminal.text.slice(0, terminal.text.indexOf('rc=')).split(/\r?\n/);
  expect(lines.filter((line) => line.startsWith('sbx-')).length).toBeGreaterThan(0);
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(60);
  const { stdout } = await cli(stack, ['ls']);
  expect(stdout.toString()).toContain(labels.purpose);
  expect(stdout.toString()).toContain(labelled.id);
});
