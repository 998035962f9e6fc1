/** Timeouts, kills, signals, and clients that disconnect. */
import { expect } from 'vitest';
import type { Sandbox } from '../../../src/sdk/index.ts';
import { running } from '../../helpers/sandbox.ts';
import { LIMIT_MS, codeOf, rule, type Scene } from '../rule.ts';

const none = (sandbox: Sandbox, text: string) =>
  expect.poll(() => running(sandbox, text), { timeout: LIMIT_MS, interval: 200 }).toEqual([]);

export function limits(scene: Scene): void {
  rule(scene, 'a timeout ends the command with everything it started', [], async ({ door, id, sandbox }) => {
    const first = await door.run(id, 'sleep 98765; echo no', { timeoutMs: 1_000 });
    expect(first).toMatchObject({ timedOut: true, stdout: '' });
    expect(first.exitCode).not.toBe(0);
    const server = 'python3 -m http.server 8099 & (sleep 98765 & sleep 98765) | cat';
    expect((await door.run(id, server, { timeoutMs: 1_000 })).timedOut).toBe(true);
    await none(sandbox, 'sleep 98765');
    await none(sandbox, 'http.server');
    expect((await door.run(id, 'echo ok')).stdout).toBe('ok\n');
  });

  rule(scene, 'a daemon that left its session dies with its command', [], async ({ door, id, sandbox }) => {
    const command = 'setsid sh -c "sleep 97531 & sleep 97531" & sleep 97531';
    expect((await door.run(id, command, { timeoutMs: 1_000 })).timedOut).toBe(true);
    await none(sandbox, 'sleep 97531');
  });

  rule(scene, 'so does one without parent, session or environment', ['marks'], async ({ door, id, sandbox }) => {
    const bare = '(env -i "$(command -v setsid)" "$(command -v sleep)" 97532 &)';
    expect((await door.run(id, `${bare}; sleep 97532`, { timeoutMs: 1_000 })).timedOut).toBe(true);
    await none(sandbox, 'sleep 97532');
  });

  rule(scene, 'a command that ignores TERM is killed after the grace', [], async ({ door, id }) => {
    const outcome = await door.run(id, `trap '' TERM; while :; do sleep 0.1; done`, { timeoutMs: 500 });
    expect(outcome).toMatchObject({ timedOut: true, exitCode: 137, signal: 'KILL' });
  });

  rule(scene, 'output printed before the limit is kept', [], async ({ door, id }) => {
    const command = 'for i in 1 2 3; do echo line$i; done; sleep 98766';
    expect(await door.run(id, command, { timeoutMs: 2_000 })).toMatchObject({
      timedOut: true,
      stdout: 'line1\nline2\nline3\n',
    });
  });

  rule(scene, 'output is delivered while the command runs', ['live'], async ({ door, id, sandbox, mark }) => {
    const go = `/tmp/go-live-${mark}`;
    const command = `for i in 1 2 3; do echo line$i; done; until [ -e ${go} ]; do sleep 0.05; done; exit 3`;
    const live = await door.live!(id, command, { timeoutMs: LIMIT_MS });
    await live.saw('line1\nline2\nline3\n');
    await sandbox.exec(['touch', go], { check: true });
    expect((await live.ended).exitCode).toBe(3);
  });

  rule(scene, 'a command that timed out does not wedge the sandbox', [], async ({ door, id }) => {
    await door.run(id, 'cat /dev/zero > /dev/null', { timeoutMs: 500 });
    for (let i = 0; i < Math.min(20, door.hurry / 2); i++) {
      expect((await door.run(id, 'echo ok', { timeoutMs: LIMIT_MS })).stdout).toBe('ok\n');
    }
  });

  rule(scene, 'an invalid limit is refused, never read as none or as the default', [], async ({ door, id }) => {
    const wrong = [0, -1, 0.2, Number.NaN, 1e12];
    const codes = await Promise.all(wrong.map((timeoutMs) => codeOf(door.run(id, 'true', { timeoutMs }))));
    expect(codes).toEqual(wrong.map(() => 'invalid_request'));
  });

  rule(scene, 'kill ends a command with all it started, and is reported', [], async ({ door, id, sandbox }) => {
    const command = await door.start(id, 'echo up; sleep 86420 & sleep 86420');
    await command.saw('up');
    await command.kill();
    const { exitCode, signal } = await command.ended();
    expect(exitCode).toBeGreaterThan(128);
    expect(signal).not.toBeNull();
    await none(sandbox, 'sleep 86420');
  });

  rule(scene, 'a signal reaches the command, which may handle it', [], async ({ door, id }) => {
    const command = await door.start(id, `trap 'echo got; exit 6' USR1; echo ready; while :; do sleep 0.1; done`);
    await command.saw('ready');
    await command.signal('USR1');
    expect(await command.ended()).toMatchObject({ exitCode: 6, signal: null, stdout: 'ready\ngot\n' });
  });

  rule(scene, 'a client that disconnects takes its command with it', ['abandon'], async ({ door, id, sandbox }) => {
    for (let i = 0; i < 3; i++) await door.abandon!(id, 'while :; do sleep 0.2; : 64208; done');
    await none(sandbox, '64208');
  });
}
