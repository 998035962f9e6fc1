/** A command's input: none unless given, half-closed, and never a deadlock. */
import { expect } from 'vitest';
import { LIMIT_MS, rule, type Scene } from '../rule.ts';

const promptly = { timeoutMs: LIMIT_MS };
const pattern = (length: number): Buffer => {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >> 9)) & 255;
  return bytes;
};

export function stdin(scene: Scene): void {
  rule(scene, 'a command that reads input sees end-of-file when none is given', [], async ({ door, id }) => {
    const commands = ['cat', 'read x; echo got=$x', 'python3 -', 'grep foo'];
    const outcomes = await Promise.all(commands.map((command) => door.run(id, command, promptly)));
    expect(outcomes.map(({ exitCode, stdout }) => [exitCode, stdout])).toEqual([
      [0, ''],
      [0, 'got=\n'],
      [0, ''],
      [1, ''],
    ]);
  });

  rule(scene, 'output written after end-of-file arrives, and so does the exit', [], async ({ door, id }) => {
    const options = { stdin: 'x'.repeat(200_000), ...promptly };
    const outcome = await door.run(id, 'sleep 0.3; wc -c; sleep 0.3; echo after; exit 5', options);
    expect(outcome).toMatchObject({ stdout: '200000\nafter\n', exitCode: 5 });
  });

  rule(scene, 'input in pieces, then its FIN: the other direction continues', ['live'], async ({ door, id }) => {
    const live = await door.live!(id, 'read one; echo $one; wc -c; sleep 0.3; echo after; exit 5', { stdin: true });
    await live.write('first\n');
    await live.saw('first');
    await live.write('x'.repeat(100_000));
    await live.write('y'.repeat(100_000));
    live.closeStdin();
    expect((await live.ended).exitCode).toBe(5);
    expect(Buffer.concat(live.pieces.map(({ bytes }) => bytes)).toString()).toBe('first\n200000\nafter\n');
  });

  rule(scene, 'much input with much output does not deadlock, and every byte comes back', [], async ({ door, id }) => {
    const bytes = pattern(4_000_001);
    const { exitCode, stdout } = await door.runBytes(id, 'cat', { stdin: bytes, ...promptly });
    expect(exitCode).toBe(0);
    expect(stdout.equals(bytes)).toBe(true);
  });

  rule(scene, 'a command that never reads its input still ends', [], async ({ door, id }) => {
    const outcome = await door.run(id, 'exit 3', { stdin: 'x'.repeat(4_000_000), ...promptly });
    expect(outcome.exitCode).toBe(3);
  });
}
