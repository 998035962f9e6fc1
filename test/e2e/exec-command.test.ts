/** The exec contract: how the command text, the environment, the directory and the user reach the program. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Sandbox } from '../../src/sdk/index.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';

const PROMPT_MS = 30_000;
let stack: TestStack;
let sandbox: Sandbox;
beforeAll(async () => {
  stack = await startStack({ pool: 1 });
  sandbox = await stack.client.sandboxes.create({ timeoutMs: 3_600_000 });
});
afterAll(() => stack?.stop());

const run = async (command: string) => await sandbox.exec(command, { timeoutMs: PROMPT_MS });

describe('the text of a command reaches the shell as it is', () => {
  test.each([
    ['echo hi # note', 'hi\n', 0],
    ['false # note', '', 1],
    ['printf one\\&', 'one&', 0],
    ['echo a;', 'a\n', 0],
    ['echo a &&\n echo b', 'a\nb\n', 0],
    ['echo f; f() { echo x; }', 'f\n', 0],
    ['(exit 4)', '', 4],
    ['exit 300', '', 44],
    ['A=$((1)); false', '', 1],
    [`awk 'BEGIN { x = "}{\\""; print x; exit 3 }'`, '}{"\n', 3],
  ])('%j', async (command, stdout, exitCode) => {
    expect(await run(command)).toMatchObject({ stdout, exitCode });
  });

  test("a syntax error is the shell's own: exit 2 and its message on stderr", async () => {
    const result = await run('if true; then');
    expect(result).toMatchObject({ exitCode: 2, stdout: '' });
    expect(result.stderr).not.toBe('');
  });

  test('a heredoc keeps every byte, and the next command is not delayed', async () => {
    const body = '  leading $x\n\t`tab` \\ end\n';
    const result = await run(`cat > /tmp/here.txt <<'EOT'\n${body}EOT\ncat /tmp/here.txt`);
    expect(result).toMatchObject({ stdout: body, exitCode: 0 });
    expect((await run('echo next')).stdout).toBe('next\n');
  });

  test.each([131_000, 131_100, 200_000, 1_000_000, 9_000_000])('a text of %i bytes runs', async (size) => {
    const tail = '; echo done; exit 7';
    const text = `: ${'x'.repeat(size - tail.length - 2)}${tail}`;
    const result = await sandbox.exec(text, { timeoutMs: 300_000 });
    expect(result).toMatchObject({ stdout: 'done\n', exitCode: 7, stderr: '' });
  });

  test('a text over the limit is refused before anything runs, and the limit is named', async () => {
    const failure = (): unknown => sandbox.exec(`: ${'x'.repeat(11_000_000)}`);
    expect(failure).toThrow(/10485760|at most/);
  });

  test('a list runs with no shell: no word of it is expanded or split', async () => {
    const words = ['a b', '$HOME', '*', "'", '"', '\\', '', '-n', 'ü\n'];
    const program = 'import sys; sys.stdout.write(repr(sys.argv[1:]))';
    const { stdout } = await sandbox.exec(['python3', '-c', program, ...words]);
    expect(stdout).toBe(`['a b', '$HOME', '*', "'", '"', '\\\\', '', '-n', 'ü\\n']`);
  });

  test('one argument of a list over the kernel limit is a typed refusal, never an exit code', async () => {
    await expect(sandbox.exec(['echo', 'x'.repeat(140_000)]).result).rejects.toMatchObject({
      code: expect.stringMatching(/exec_bad_args|invalid_request/),
    });
    expect((await run('echo next')).stdout).toBe('next\n');
  });
});

describe('a program that cannot be started is an error of its own, with nothing of it in stdout', () => {
  test.each([
    [['/no/such/program'], 'exec_program_not_found'],
    [['no-such-program-anywhere'], 'exec_program_not_found'],
    [['/etc/passwd'], 'exec_permission_denied'],
    [['/etc'], 'exec_permission_denied'],
  ])('%j is %s', async (argv, code) => {
    await expect(sandbox.exec(argv).result).rejects.toMatchObject({ code });
  });

  test('in a shell, the same is the result that the shell gives', async () => {
    expect((await run('no-such-program-anywhere')).exitCode).toBe(127);
  });

  test('a user that is not in the sandbox is bad_user', async () => {
    await expect(sandbox.exec('id', { user: 'nobody-knows' }).result).rejects.toMatchObject({ code: 'exec_bad_user' });
  });
});

describe('the working directory', () => {
  test.each(['/no/such', 'no-such-relative', '/etc/passwd'])(
    '%s is bad_cwd, and nothing is made or printed',
    async (cwd) => {
      await expect(sandbox.exec('pwd', { cwd }).result).rejects.toMatchObject({ code: 'exec_bad_cwd' });
      expect((await run('test -e /no')).exitCode).toBe(1);
    },
  );

  test('a directory that was deleted is bad_cwd', async () => {
    await run('mkdir -p /tmp/gone && rmdir /tmp/gone');
    await expect(sandbox.exec('pwd', { cwd: '/tmp/gone' }).result).rejects.toMatchObject({ code: 'exec_bad_cwd' });
  });

  test('a name with quotes, blanks and backslashes works', async () => {
    const cwd = `/tmp/a b\\'c"$x`;
    await sandbox.exec(['mkdir', '-p', cwd], { check: true });
    expect((await sandbox.exec(['pwd'], { cwd })).stdout).toBe(`${cwd}\n`);
  });
});

describe('parallel commands share nothing but the sandbox', () => {
  test('each has its own directory, environment, stdin and exit code', async () => {
    await run('for i in $(seq 0 49); do mkdir -p /tmp/par/d$i; done');
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        sandbox.exec('sleep 0.2; pwd; cd ..; echo $T $(cat); export T=bad; exit $((T_NUMBER % 256))', {
          cwd: `/tmp/par/d${i}`,
          env: { T: `t${i}`, T_NUMBER: String(i + 230) },
          stdin: `in${i}`,
        }),
      ),
    );
    results.forEach(({ stdout, exitCode }, i) => {
      expect(stdout).toBe(`/tmp/par/d${i}\nt${i} in${i}\n`);
      expect(exitCode).toBe((i + 230) % 256);
    });
  });

  test('commands really run in parallel: all are alive at one time', async () => {
    // Each waits until it sees all the others, which in a row none would.
    const command =
      'mkdir -p /tmp/meet; touch /tmp/meet/$N; until [ $(ls /tmp/meet | wc -l) -ge 10 ]; do sleep 0.05; done';
    const results = await Promise.all(
      Array.from({ length: 10 }, (_, i) => sandbox.exec(command, { env: { N: String(i) }, timeoutMs: 60_000 })),
    );
    expect(results.map(({ exitCode }) => exitCode)).toEqual(Array.from({ length: 10 }, () => 0));
  });
});
