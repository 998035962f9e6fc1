/** How a command's script or argv, environment, directory and user reach the program. */
import { expect } from 'vitest';
import { LIMIT_MS, rule, type Scene } from '../rule.ts';

const AS_IT_IS: readonly (readonly [command: string, stdout: string, exitCode: number])[] = [
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
];

export function text(scene: Scene): void {
  rule(scene, 'the text of a command reaches the shell unchanged', [], async ({ door, id }) => {
    const outcomes = await Promise.all(AS_IT_IS.map(([command]) => door.run(id, command)));
    AS_IT_IS.forEach(([command, stdout, exitCode], i) => {
      const { stdout: got, exitCode: code } = outcomes[i] ?? {};
      expect({ command, stdout: got, exitCode: code }).toEqual({ command, stdout, exitCode });
    });
  });

  rule(scene, "a syntax error is the shell's own: exit 2 and its message on stderr", [], async ({ door, id }) => {
    const outcome = await door.run(id, 'if true; then');
    expect(outcome).toMatchObject({ exitCode: 2, stdout: '' });
    expect(outcome.stderr).not.toBe('');
  });

  rule(scene, 'a heredoc keeps every byte, and the next command is not delayed', [], async ({ door, id, mark }) => {
    const body = '  leading $x\n\t`tab` \\ end\n';
    const file = `/tmp/here-${mark}`;
    const outcome = await door.run(id, `cat > ${file} <<'EOT'\n${body}EOT\ncat ${file}`);
    expect(outcome).toMatchObject({ stdout: body, exitCode: 0 });
    expect((await door.run(id, 'echo next', { timeoutMs: LIMIT_MS })).stdout).toBe('next\n');
  });

  rule(scene, 'a script of 131,000 to 9,000,000 bytes runs', ['longText'], async ({ door, id }) => {
    const tail = '; echo done; exit 7';
    for (const size of [131_000, 131_100, 200_000, 1_000_000, 9_000_000]) {
      const command = `: ${'x'.repeat(size - tail.length - 2)}${tail}`;
      const { stdout, stderr, exitCode } = await door.run(id, command, { timeoutMs: LIMIT_MS });
      expect({ size, stdout, stderr, exitCode }).toEqual({ size, stdout: 'done\n', stderr: '', exitCode: 7 });
    }
  });

  rule(
    scene,
    'a text over the limit is refused before anything runs, and the limit is named',
    ['longText'],
    async ({ door, id, mark }) => {
      const command = `touch /tmp/ran-${mark}; : ${'x'.repeat(11_000_000)}`;
      await expect(door.run(id, command)).rejects.toMatchObject({
        code: 'invalid_request',
        message: expect.stringContaining('10485760'),
      });
      expect((await door.run(id, `test -e /tmp/ran-${mark}`)).exitCode).toBe(1);
    },
  );

  rule(scene, 'argv runs without a shell: no element is expanded or split', [], async ({ door, id }) => {
    const words = ['a b', '$HOME', '*', "'", '"', '\\', '', '-n', '--json', 'ü\n'];
    const program = 'import sys; sys.stdout.write(repr(sys.argv[1:]))';
    const { stdout } = await door.run(id, ['python3', '-c', program, ...words]);
    expect(stdout).toBe(`['a b', '$HOME', '*', "'", '"', '\\\\', '', '-n', '--json', 'ü\\n']`);
  });

  rule(scene, 'a directory whose name has quotes, blanks and backslashes works', [], async ({ door, id, sandbox }) => {
    const cwd = `/tmp/a b\\'c"$x`;
    await sandbox.exec(['mkdir', '-p', cwd], { check: true });
    expect((await door.run(id, ['pwd'], { cwd })).stdout).toBe(`${cwd}\n`);
  });

  rule(scene, 'a variable has exactly the value that was given', [], async ({ door, id }) => {
    const value = `it's "$HOME" \\n\ttab=1\nline ü`;
    expect((await door.run(id, 'printf %s "$GIVEN"', { env: { GIVEN: value } })).stdout).toBe(value);
  });

  rule(scene, 'a user by name or number is who the command runs as', [], async ({ door, id }) => {
    const users = ['nobody', '12345:54321', 'nobody:12345'];
    const outcomes = await Promise.all(users.map((user) => door.run(id, 'echo $(id -u):$(id -g)', { user })));
    expect(outcomes.map(({ stdout }) => stdout)).toEqual(['65534:65534\n', '12345:54321\n', '65534:12345\n']);
  });
}
