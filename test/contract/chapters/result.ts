/** What a result contains, and what is not a result. */
import { expect } from 'vitest';
import { boxinitKiller } from '../../helpers/host.ts';
import { running } from '../../helpers/sandbox.ts';
import { LIMIT_MS, codeOf, rule, type Scene } from '../rule.ts';

export function result(scene: Scene): void {
  rule(scene, 'a result describes the run in full, and a non-zero exit is a result', [], async ({ door, id }) => {
    const outcome = await door.run(id, 'echo out; echo err >&2; sleep 0.2; exit 3');
    expect(outcome).toMatchObject({
      exitCode: 3,
      signal: null,
      stdout: 'out\n',
      stderr: 'err\n',
      timedOut: false,
      oomKilled: false,
      truncated: { stdout: false, stderr: false },
      stdoutBytes: 4,
      stderrBytes: 4,
    });
    expect(outcome.durationMs).toBeGreaterThan(150);
    expect(outcome.queueMs).toBeGreaterThanOrEqual(0);
  });

  rule(scene, 'death by signal n is 128 + n, and no exit code is mistaken for it', [], async ({ door, id }) => {
    const rows = [
      ['kill -9 $$', 137, 'KILL'],
      ['kill -TERM $$', 143, 'TERM'],
      ['exit 255', 255, null],
      ['exit 137', 137, null],
      ["sh -c 'kill -SEGV $$'; echo inner=$?", 0, null],
    ] as const;
    const outcomes = await Promise.all(rows.map(([command]) => door.run(id, command)));
    rows.forEach(([, exitCode, signal], i) => expect(outcomes[i]).toMatchObject({ exitCode, signal }));
    expect(outcomes.at(-1)?.stdout).toBe('inner=139\n');
  });

  rule(scene, 'exit codes survive any load: none becomes 0, null or -1', [], async ({ door, id }) => {
    for (const [command, expected] of [
      ['exit 7', 7],
      ['kill -TERM $$', 143],
    ] as const) {
      const codes = new Set<number>();
      for (let left = door.hurry; left > 0; left -= 50) {
        const batch = Array.from({ length: Math.min(50, left) }, () => door.run(id, command));
        for (const { exitCode } of await Promise.all(batch)) codes.add(exitCode);
      }
      expect(codes).toEqual(new Set([expected]));
    }
  });

  rule(scene, 'a command given before its sandbox is running is queued', [], async ({ door, stack }) => {
    const early = await stack.client.sandboxes.create({ memoryMb: 64 });
    try {
      const outcome = await door.run(early.id, 'echo up');
      expect(outcome).toMatchObject({ exitCode: 0, stdout: 'up\n' });
      expect(outcome.queueMs).toBeGreaterThanOrEqual(0);
    } finally {
      await early.delete();
    }
  });

  rule(scene, 'an OOM kill ends the program with 137 and is reported', ['memoryKill'], async ({ door, stack }) => {
    const small = await stack.client.sandboxes.create({ memoryMb: 96 });
    try {
      const outcome = await door.run(small.id, ['python3', '-c', 'x = bytearray(10 ** 9)']);
      expect(outcome).toMatchObject({ exitCode: 137, oomKilled: true, timedOut: false });
      expect((await door.run(small.id, 'echo fine')).stdout).toBe('fine\n');
      expect((await small.refresh()).status).toBe('RUNNING');
    } finally {
      await small.delete();
    }
  });

  rule(scene, 'a sandbox that dies under its command is a typed error, never an exit', [], async ({ door, stack }) => {
    const doomed = await stack.client.sandboxes.create({ memoryMb: 96 });
    try {
      const kill = await boxinitKiller(doomed);
      const code = codeOf(door.run(doomed.id, 'echo up; sleep 613'));
      await expect.poll(() => running(doomed, 'sleep 613'), { timeout: LIMIT_MS }).not.toEqual([]);
      kill();
      expect(await code).toMatch(/^(sandbox_ended|interrupted)$/);
      await expect.poll(async () => (await doomed.refresh()).status, { timeout: LIMIT_MS }).toBe('ERROR');
      expect(await codeOf(door.run(doomed.id, 'true'))).toBe('sandbox_ended');
    } finally {
      await doomed.delete();
    }
  });

  rule(scene, 'a sandbox that never existed is sandbox_not_found', [], async ({ door }) => {
    expect(await codeOf(door.run('sbx-00000000000000000000', 'true'))).toBe('sandbox_not_found');
  });
}
