/** A command is over once its leader has exited and the pipes have been drained. */
import { expect } from 'vitest';
import { killRunning, running } from '../../helpers/sandbox.ts';
import { LIMIT_MS, rule, type Scene } from '../rule.ts';

/** Far above what any of these takes, far below the sleeps that must not be waited for. */
const promptly = { timeoutMs: LIMIT_MS };

export function completion(scene: Scene): void {
  rule(scene, 'a background child that holds stdout delays nothing and lives on', [], async ({ door, id, sandbox }) => {
    expect(await door.run(id, 'sleep 654321 & echo hi', promptly)).toMatchObject({
      stdout: 'hi\n',
      exitCode: 0,
      timedOut: false,
    });
    const second = await door.run(id, '(sleep 1; echo one; sleep 654321) & echo early', promptly);
    expect(second).toMatchObject({ exitCode: 0, timedOut: false });
    expect(second.stdout.startsWith('early\n')).toBe(true);
    expect((await door.run(id, 'echo next', promptly)).stdout).toBe('next\n');
    expect((await running(sandbox, 'sleep 654321')).length).toBeGreaterThanOrEqual(2);
    await killRunning(sandbox, '654321');
  });

  rule(
    scene,
    'no byte of the leader is lost though a child still holds the pipe',
    [],
    async ({ door, id, sandbox }) => {
      const command = `sleep 654322 & head -c 3000000 /dev/zero | tr '\\0' x; exit 5`;
      const outcomes = await Promise.all(
        Array.from({ length: Math.min(10, door.hurry) }, () => door.runBytes(id, command, promptly)),
      );
      for (const { exitCode, stdout } of outcomes) {
        expect(exitCode).toBe(5);
        expect(stdout.equals(Buffer.alloc(3_000_000, 'x'))).toBe(true);
      }
      await killRunning(sandbox, '654322');
    },
  );

  rule(scene, 'orphans are reaped', [], async ({ door, id, sandbox }) => {
    const count = Math.min(100, door.hurry);
    await Promise.all(Array.from({ length: count }, () => door.run(id, '(sleep 0.1 &) ; true', promptly)));
    const zombies = async (): Promise<number> => {
      const { stdout } = await sandbox.exec(`grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l`);
      return Number(stdout);
    };
    await expect.poll(zombies, { timeout: LIMIT_MS }).toBeLessThanOrEqual(2);
  });
}
