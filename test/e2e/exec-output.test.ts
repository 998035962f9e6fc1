/** The exec contract: completion, output and exit codes. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Sandbox } from '../../src/sdk/index.ts';
import { running } from '../helpers/sandbox.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';

/** Far above what any of these takes, far below the sleeps that must not be waited for. */
const PROMPT_MS = 30_000;

let stack: TestStack;
let sandbox: Sandbox;
beforeAll(async () => {
  stack = await startStack({ pool: 1 });
  sandbox = await stack.client.sandboxes.create({ memoryMb: 1024, timeoutMs: 3_600_000 });
});
afterAll(() => stack?.stop());

const promptly = { timeoutMs: PROMPT_MS };

describe('completion', () => {
  test('a background child that holds stdout delays nothing and lives on', async () => {
    expect(await sandbox.exec('sleep 654321 & echo hi', promptly)).toMatchObject({
      stdout: 'hi\n',
      exitCode: 0,
      timedOut: false,
    });
    const second = await sandbox.exec('(sleep 1; echo one; sleep 654321) & echo early', promptly);
    expect(second).toMatchObject({ exitCode: 0, timedOut: false });
    expect(second.stdout.startsWith('early\n')).toBe(true);
    expect((await sandbox.exec('echo next', promptly)).stdout).toBe('next\n');
    expect((await running(sandbox, 'sleep 654321')).length).toBeGreaterThanOrEqual(2);
    await sandbox.exec(
      `python3 -c 'import os,signal
for p in filter(str.isdigit, os.listdir("/proc")):
    try:
        if b"654321" in open(f"/proc/{p}/cmdline","rb").read() and int(p) != os.getpid(): os.kill(int(p), signal.SIGKILL)
    except OSError: pass'`,
    );
  });

  test('exit codes survive any hurry: none becomes 0, null or -1', async () => {
    const codes = async (command: string): Promise<number[]> => {
      const all: number[] = [];
      for (let batch = 0; batch < 4; batch++) {
        const results = await Promise.all(Array.from({ length: 50 }, () => sandbox.exec(command)));
        all.push(...results.map(({ exitCode }) => exitCode));
      }
      return all;
    };
    expect(new Set(await codes('exit 7'))).toEqual(new Set([7]));
    expect(new Set(await codes('kill -TERM $$'))).toEqual(new Set([143]));
  });

  test('death by signal n is 128 + n', async () => {
    const code = async (command: string): Promise<number> => (await sandbox.exec(command)).exitCode;
    expect(await code('kill -9 $$')).toBe(137);
    expect(await code('kill -TERM $$')).toBe(143);
    expect(await code('exit 255')).toBe(255);
    expect(await code('exit 137')).toBe(137);
    expect((await sandbox.exec('kill -9 $$')).signal).toMatch(/KILL$/);
    expect((await sandbox.exec('exit 137')).signal).toBeNull();
    const inner = await sandbox.exec("sh -c 'kill -SEGV $$'; echo inner=$?");
    expect(inner).toMatchObject({ stdout: 'inner=139\n', exitCode: 0 });
  });

  test('orphans are reaped', async () => {
    await Promise.all(Array.from({ length: 100 }, () => sandbox.exec('(sleep 0.1 &) ; true')));
    const zombies = async (): Promise<number> => {
      const { stdout } = await sandbox.exec(`grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l`);
      return Number(stdout);
    };
    await expect.poll(zombies, { timeout: PROMPT_MS }).toBeLessThanOrEqual(2);
  });
});

describe('stdin', () => {
  test('half-close: what is written after end-of-file arrives, and so does the exit', async () => {
    const exec = sandbox.exec('sleep 0.3; wc -c; sleep 0.3; echo after; exit 5', { stdin: true });
    await exec.write(Buffer.alloc(200_000, 'x'));
    exec.closeStdin();
    const { stdout, exitCode } = await exec;
    expect(stdout.replaceAll(' ', '')).toBe('200000\nafter\n');
    expect(exitCode).toBe(5);
  });

  test('a command that reads stdin sees end-of-file when none is given', async () => {
    const run = async (command: string) => await sandbox.exec(command, promptly);
    expect(await run('cat')).toMatchObject({ exitCode: 0, stdout: '' });
    expect((await run('read x; echo got=$x')).stdout).toBe('got=\n');
    expect(await run('python3 -')).toMatchObject({ exitCode: 0, stdout: '' });
    expect((await run('grep foo')).exitCode).toBe(1);
  });

  test('large stdin with large stdout does not deadlock, and every byte comes back', async () => {
    const bytes = Buffer.alloc(8 * 1024 * 1024);
    for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 31 + (i >> 9)) & 255;
    const { stdout, exitCode } = await sandbox.exec('cat', { stdin: bytes, encoding: 'bytes', timeoutMs: 300_000 });
    expect(exitCode).toBe(0);
    expect(stdout.equals(bytes)).toBe(true);
  });

  test('a command that never reads its stdin ends all the same', async () => {
    const result = await sandbox.exec('exit 3', { stdin: Buffer.alloc(4 * 1024 * 1024), ...promptly });
    expect(result.exitCode).toBe(3);
  });
});

describe('output', () => {
  test('huge output is cut at a flagged cap with the true exit, and harms no other command', async () => {
    const other = await stack.client.sandboxes.create({ memoryMb: 128 });
    const alive = other.exec('sleep 3; echo alive');
    const pid = stack.agentPids[0];
    const result = await sandbox.exec(`head -c 200000000 /dev/zero | tr '\\0' a; exit 9`, {
      maxOutputBytes: 1_000_000,
      timeoutMs: 600_000,
    });
    expect(result).toMatchObject({ exitCode: 9, truncated: { stdout: true, stderr: false }, stdoutBytes: 200_000_000 });
    expect(result.stdout.length).toBe(1_000_000);
    expect((await alive).stdout).toBe('alive\n');
    expect(stack.agentPids[0]).toBe(pid);
    await other.delete();
  });

  test('a character is never cut in two, and the streams share no decoder', async () => {
    const program = `
import os, time
text = "é中😀" * 200
for b in text.encode():
    os.write(1, bytes([b])); os.write(2, bytes([b]))
`;
    let out = '';
    let err = '';
    for await (const event of sandbox.exec(['python3', '-c', program])) {
      if (event.type === 'stdout') out += event.data;
      if (event.type === 'stderr') err += event.data;
    }
    expect(out).toBe('é中😀'.repeat(200));
    expect(err).toBe('é中😀'.repeat(200));
  });

  test('chunk boundaries add no line breaks and eat no blank lines', async () => {
    const { stdout } = await sandbox.exec(`printf 'Hello, wo'; sleep 0.3; printf 'rld\\n\\n\\nend'`);
    expect(stdout).toBe('Hello, world\n\n\nend');
  });

  test('each line stays on its stream, in order', async () => {
    const seen: string[] = [];
    const command = 'for i in $(seq 1 30); do echo o$i; sleep 0.02; echo e$i >&2; sleep 0.02; done';
    for await (const event of sandbox.exec(command)) {
      if (event.type === 'exit' || event.type === 'output_lost') continue;
      for (const line of event.data.trimEnd().split('\n')) {
        expect(line.startsWith(event.type === 'stdout' ? 'o' : 'e')).toBe(true);
        seen.push(line);
      }
    }
    const numbers = (letter: string): string[] => seen.filter((line) => line.startsWith(letter));
    const expected = Array.from({ length: 30 }, (_, i) => i + 1);
    expect(numbers('o')).toEqual(expected.map((i) => `o${i}`));
    expect(numbers('e')).toEqual(expected.map((i) => `e${i}`));
  });

  test('pieces of any size on both streams arrive byte for byte', async () => {
    const program = `
import os
for round in range(60):
    for size in (1, 7, 4095, 65537):
        os.write(1, bytes((round + i) % 251 for i in range(64)) * (size // 64 + 1))
        os.write(2, b"e" * size)
`;
    const expectedOut = Buffer.concat(
      Array.from({ length: 60 }, (_, round) => {
        const block = Buffer.from(Array.from({ length: 64 }, (_, i) => (round + i) % 251));
        return Buffer.concat(
          [1, 7, 4095, 65537].map((size) =>
            Buffer.concat(Array.from({ length: Math.floor(size / 64) + 1 }, () => block)),
          ),
        );
      }),
    );
    const { stdout, stderr } = await sandbox.exec(['python3', '-c', program], {
      encoding: 'bytes',
      timeoutMs: 300_000,
    });
    expect(stdout.equals(expectedOut)).toBe(true);
    expect(stderr.equals(Buffer.alloc(60 * (1 + 7 + 4095 + 65537), 'e'))).toBe(true);
  });
});
