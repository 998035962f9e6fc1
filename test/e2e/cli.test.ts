/** `millibox` as seen by a shell or a script. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CLI_MAIN, cli, cliEnvironment, finished, startCli } from '../helpers/cli.ts';
import { running } from '../helpers/sandbox.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';

let stack: TestStack;
let id: string;
beforeAll(async () => {
  stack = await startStack({ pool: 1 });
  id = (await stack.client.sandboxes.create({ timeoutMs: 3_600_000 }).ready()).id;
});
afterAll(() => stack?.stop());

const exec = (args: string[], input?: string | Buffer) => cli(stack, ['exec', ...args], input);

/** With stdout redirected to a file of this machine. */
async function cliTo(path: string, args: readonly string[]) {
  const file = openSync(path, 'w');
  try {
    return await finished(startCli(stack, args, ['ignore', file, 'pipe']));
  } finally {
    closeSync(file);
  }
}

describe('exec passes everything through', () => {
  test("stdout and stderr stay separate, and the exit code is the command's", async () => {
    const result = await exec([id, '--', 'sh', '-c', 'echo out; echo err >&2; exit 7']);
    expect(result).toMatchObject({ code: 7, stderr: 'err\n' });
    expect(result.stdout.toString()).toBe('out\n');
  });

  test('bytes pass unchanged in both directions', async () => {
    const bytes = Buffer.alloc(3_000_001);
    for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7 + (i >> 8)) & 255;
    const result = await exec([id, '--', 'cat'], bytes);
    expect(result.code).toBe(0);
    expect(result.stdout.equals(bytes)).toBe(true);
  });

  test('options after -- belong to the command', async () => {
    const result = await exec([id, '--', 'printf', '%s|', '--json', '-b', '--', '-h']);
    expect(result.stdout.toString()).toBe('--json|-b|--|-h|');
  });

  test('a script for the shell, a directory, an environment', async () => {
    const result = await exec(['-s', '-w', '/tmp', '-e', 'A=b c', id, '--', 'pwd; echo "$A" | tr b x']);
    expect(result.stdout.toString()).toBe('/tmp\nx c\n');
  });

  test('a death by signal is 128 + n, a timeout is 124', async () => {
    expect((await exec([id, '--', 'sh', '-c', 'kill -9 $$'])).code).toBe(137);
    expect((await exec(['--timeout', '500ms', id, '--', 'sleep', '600'])).code).toBe(124);
  });

  test('an interrupt reaches the command, which may handle it', async () => {
    const child = startCli(stack, [
      'exec',
      id,
      '--',
      'sh',
      '-c',
      'trap "echo bye; exit 9" INT; echo up; while :; do sleep 0.1; done',
    ]);
    const result = finished(child);
    await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
    child.kill('SIGINT');
    expect(await result).toMatchObject({ code: 9 });
    expect((await result).stdout.toString()).toBe('up\nbye\n');
  });

  test('a failure to write stdout is a failure, not a result', async () => {
    for (const args of [['exec', id, '--', 'echo', 'hi'], ['exec', '--json', id, '--', 'true'], ['ls']]) {
      const { code, stderr } = await cliTo('/dev/full', args);
      // For `exec`, 1 would be the command's.
      expect(code).toBe(args[0] === 'exec' ? 255 : 1);
      expect(stderr).toMatch(/^millibox: ENOSPC/);
    }
  });

  test('an impatient user can leave, and the command still ends', async () => {
    const child = startCli(stack, ['exec', '-s', id, '--', 'trap "echo no" INT; echo up; while :; do sleep 0.1; done']);
    const result = finished(child);
    await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
    const timer = setInterval(() => child.kill('SIGINT'), 100);
    expect([130, 137, 143]).toContain((await result).code);
    clearInterval(timer);
    await expect.poll(() => running(sandboxOf(), 'trap "echo no"'), { timeout: 60_000 }).toEqual([]);
  });

  test('when the reader of its output closes, the command ends too', async () => {
    const child = startCli(stack, ['exec', id, '--', 'sh', '-c', 'while :; do echo 531986420; done']);
    const result = finished(child);
    await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
    child.stdout?.destroy();
    expect(await result).toMatchObject({ code: 141, stderr: '' });
    await expect.poll(() => running(sandboxOf(), '531986420'), { timeout: 60_000 }).toEqual([]);
  });

  test('logs -f ends quietly when its reader closes, and leaves its command alone', async () => {
    const job = await stackSandbox.jobs.start('while :; do echo line; sleep 0.05; done');
    const child = startCli(stack, ['logs', '-f', id, job.id]);
    const result = finished(child);
    await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
    child.stdout?.destroy();
    expect(await result).toMatchObject({ code: 141, stderr: '' });
    expect((await job.state()).state).toBe('running');
    await job.kill();
  });

  test('logs -f of a silent job ends when its reader closes', async () => {
    const job = await stackSandbox.jobs.start('echo line; sleep 1000');
    // A pipe between programs: those between this process and its children are sockets.
    const script = '{ "$0" "$1" logs -f "$2" "$3"; echo $? >&2; } | head -n 1';
    const child = spawn('sh', ['-c', script, process.execPath, CLI_MAIN, id, job.id], { env: cliEnvironment(stack) });
    expect(await finished(child)).toMatchObject({ code: 0, stdout: Buffer.from('line\n'), stderr: '141\n' });
    expect((await job.state()).state).toBe('running');
    await job.kill();
  });

  test('logs -f of a job that its time limit ended exits with 124, as exec does', async () => {
    const job = (await exec(['-b', '--timeout', '500ms', id, '--', 'sleep', '600'])).stdout.toString().trim();
    expect((await cli(stack, ['logs', '-f', id, job])).code).toBe(124);
  });

  test('logs -f that was killed holds its output no longer, even if its parent does not reap it', async () => {
    const job = await stackSandbox.jobs.start('echo line; sleep 1000');
    // Becomes a parent that never waits for its child, until its stdin ends.
    const parent = '{ "$0" "$1" logs -f "$2" "$3" & echo $! >&2; exec cat >/dev/null 2>&1; }';
    const script = `${parent} | { cat; echo closed; }`;
    const child = spawn('sh', ['-c', script, process.execPath, CLI_MAIN, id, job.id], { env: cliEnvironment(stack) });
    const [pid] = (await once(child.stderr, 'data')) as [Buffer];
    expect(String(await once(child.stdout, 'data'))).toBe('line\n');
    const closed = once(child.stdout, 'data', { signal: AbortSignal.timeout(20_000) });
    process.kill(Number(String(pid)), 'SIGKILL');
    try {
      expect(String(await closed)).toBe('closed\n');
    } finally {
      child.stdin.end();
      await job.kill();
    }
  });

  const sandboxOf = () => stackSandbox;
});

let stackSandbox: Awaited<ReturnType<TestStack['client']['sandboxes']['get']>>;
beforeAll(async () => {
  stackSandbox = await stack.client.sandboxes.get(id);
});

describe("the platform's failures are distinct from the command's", () => {
  test('an unknown sandbox, a wrong key and an unreachable service end with 255 and one line', async () => {
    for (const [target, args] of [
      [stack, ['exec', 'sbx-00000000000000000000', '--', 'true']],
      [{ url: stack.url, apiKey: 'mbx_wrong' }, ['ls']],
    ] as const) {
      const { code, stderr, stdout } = await cli(target, args);
      expect(code).toBe(255);
      expect(stderr).toMatch(/^millibox: .+/);
      expect(stderr).not.toMatch(/\n\s+at /);
      expect(stdout.length).toBe(0);
    }
  });

  test("an invalid address or key is reported as such, not as a command's exit", async () => {
    for (const [target, message] of [
      [{ url: 'ftp://nowhere', apiKey: 'mbx_key' }, 'a gateway address'],
      [{ url: stack.url, apiKey: 'a\nb' }, 'the API key'],
    ] as const) {
      const { code, stderr } = await cli(target, ['exec', id, '--', 'true']);
      expect(code).toBe(255);
      expect(stderr).toContain(message);
    }
    expect(await cli({ url: stack.url, apiKey: `${stack.apiKey}\n` }, ['node', 'ls'])).toMatchObject({ code: 0 });
  });

  test("a program that does not exist ends with 255 as argv, and with the shell's 127 in a script", async () => {
    expect(await exec([id, '--', 'no-such-program'])).toMatchObject({ code: 255 });
    expect(await exec(['-s', id, '--', 'no-such-program'])).toMatchObject({ code: 127 });
  });

  test('a bad option ends with a hint, not with a stack', async () => {
    const { code, stderr } = await cli(stack, ['create', '--memory', 'lots']);
    expect(code).not.toBe(0);
    expect(stderr).toContain('512m');
    expect(stderr).not.toMatch(/\n\s+at /);
  });
});

describe('create, ls and rm', () => {
  test('work for scripts: ids on stdout, JSON if requested', async () => {
    const created = await cli(stack, ['create', '--label', 'from=cli', '--json']);
    expect(created.code).toBe(0);
    const sandbox = JSON.parse(created.stdout.toString()) as { id: string; status: string };
    expect(sandbox.status).toBe('RUNNING');

    const second = (await cli(stack, ['create', '--label', 'from=cli'])).stdout.toString().trim();
    const listed = await cli(stack, ['ls', '-q', '--label', 'from=cli']);
    expect(listed.stdout.toString().trim().split('\n').toSorted()).toEqual([sandbox.id, second].toSorted());
    const table = (await cli(stack, ['ls', '--label', 'from=cli'])).stdout.toString();
    expect(table).toMatch(/^ID\s+STATUS/);

    expect((await cli(stack, ['rm', sandbox.id])).stdout.toString()).toBe(`${sandbox.id}\n`);
    expect((await cli(stack, ['rm', '--label', 'from=cli'])).code).toBe(0);
    const rest = await cli(stack, ['ls', '--json', '--label', 'from=cli']);
    expect(JSON.parse(rest.stdout.toString())).toEqual([]);
  });

  test("secrets and variables come from our environment or a file, and appear in no process's arguments", async () => {
    const value = `s3cret-${randomBytes(8).toString('hex')}`;
    const directory = await mkdtemp(join(tmpdir(), 'secrets-'));
    try {
      await writeFile(join(directory, 'key'), `${value}-file\n`);
      const env = { MY_SECRET: `${value}-env`, MY_VALUE: `${value}-plain` };
      const secrets = ['--secret', 'MY_SECRET', '--secret-file', `MY_FILE=${directory}/key`, '--secret', 'OLD=form'];
      const child = startCli(stack, ['create', ...secrets], undefined, env);
      const command = await readFile(`/proc/${child.pid}/cmdline`, 'utf8');
      expect(command).toContain('MY_SECRET');
      expect(command).not.toContain(value);
      const created = await finished(child);
      const sandbox = created.stdout.toString().trim();
      const script = 'echo $MY_SECRET $MY_FILE $OLD $MY_VALUE; tr "\\0" " " </proc/$PPID/cmdline';
      const args = ['exec', '-e', 'MY_VALUE', '-s', sandbox, '--', script];
      const { stdout } = await finished(startCli(stack, args, ['ignore', 'pipe', 'pipe'], env));
      expect(stdout.toString().split('\n')[0]).toBe(`${value}-env ${value}-file form ${value}-plain`);
      expect(stdout.toString().split('\n')[1]).not.toContain(value);
      const listed = await cli(stack, ['ls', '--json']);
      expect(listed.stdout.toString()).not.toContain(value);
      await cli(stack, ['rm', sandbox]);
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  test('a missing secret creates nothing', async () => {
    const { code, stdout, stderr } = await cli(stack, ['create', '--secret', 'NOT_THERE']);
    expect([code, stdout.length]).toEqual([1, 0]);
    expect(stderr).toContain('NOT_THERE is not set in the environment');
  });

  test('exec --json is one result object', async () => {
    const { stdout, code } = await exec(['--json', id, '--', 'sh', '-c', 'echo out; exit 3']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout.toString())).toMatchObject({ exitCode: 3, stdout: 'out\n', signal: null });
  });

  test('exec --json ends with its command, even if stdin is never closed', async () => {
    const child = startCli(stack, ['exec', '--json', id, '--', 'true']);
    const { code, stdout } = await finished(child);
    expect(code).toBe(0);
    expect(JSON.parse(stdout.toString())).toMatchObject({ exitCode: 0 });
  });

  test('exec --json also forwards signals', async () => {
    const child = startCli(stack, [
      'exec',
      '--json',
      '-s',
      id,
      '--',
      'trap "exit 9" TERM; while :; do sleep 0.1; done',
    ]);
    const result = finished(child);
    await expect.poll(() => running(stackSandbox, 'trap "exit 9"'), { timeout: 60_000 }).not.toEqual([]);
    const timer = setInterval(() => child.kill('SIGTERM'), 200);
    const { stdout } = await result;
    clearInterval(timer);
    expect(JSON.parse(stdout.toString())).toMatchObject({ exitCode: 9 });
  });

  test('exec refuses mutually exclusive options', async () => {
    for (const options of [
      ['-t', '--json'],
      ['-t', '-b'],
      ['-t', '-n'],
    ]) {
      const { code, stdout, stderr } = await exec([...options, id, '--', 'true']);
      expect([code, stdout.length]).toEqual([255, 0]);
      expect(stderr).toContain('cannot be used with');
    }
  });
});
