/** Crowds of processes in a sandbox: its init reaps and kills among them, and still serves everybody else. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { MilliboxError, Sandbox } from '../../../src/sdk/index.ts';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { until } from '../../helpers/until.ts';

const LIMIT_MS = 180_000;
/** An init that is busy for longer looks dead. */
const SOON_MS = 20_000;

/** Thousands of orphans that stay, and a few lines of them in which each lives only until it has forked the next. */
const ORPHANS = `
  use POSIX ();
  $SIG{CHLD} = 'IGNORE';
  for (1 .. 5000) { next if fork; fork and POSIX::_exit(0); sleep 1000 while 1 }
  for (1 .. 16) { next if fork; while (1) { POSIX::_exit(0) if fork } }
  open(my $sign, '>', '/tmp/crowded');
  sleep 1000;
`;

/** Processes that have a session each, share a large environment, and wear no tag. */
const ENVIRONMENTS = `
import os, resource, signal, sys
if len(sys.argv) == 1:
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 26, 1 << 26))
    large = {f"N{number}": "x" * 130_000 for number in range(14)}
    os.execve("/proc/self/exe", ["python3", "/tmp/crowd.py", "again"], large)
resource.setrlimit(10, (1, 1))
for _ in range(1500):
    if os.fork() == 0:
        os.setsid()
        signal.pause()
open("/tmp/crowded", "w").close()
signal.pause()
`;

describe.each(['oci', 'docker'])('on %s', (runtime) => {
  let stack: TestStack;
  beforeAll(async () => {
    stack = await startStack({ runtime, pool: 1 });
  }, LIMIT_MS);
  afterAll(() => stack?.stop(), LIMIT_MS);

  async function crowded(command: string[]): Promise<Sandbox> {
    const sandbox = await stack.client.sandboxes.create({ memoryMb: 4_096, pidsLimit: 8_192 });
    await sandbox.files.write('/tmp/crowd.py', ENVIRONMENTS);
    await sandbox.exec(command, { background: true });
    await until(() => sandbox.files.exists('/tmp/crowded'), LIMIT_MS, 'the crowd');
    return sandbox;
  }

  test('a flood of orphans delays no command', { timeout: LIMIT_MS }, async () => {
    const sandbox = await crowded(['perl', '-e', ORPHANS]);
    const began = performance.now();
    for (let i = 0; i < 20; i++) {
      const outcome = sandbox.exec(['/bin/true']).result;
      // Orphans that are not reaped yet may be as many as the sandbox may have.
      const told = await outcome.then(
        ({ exitCode }) => exitCode,
        (error: MilliboxError) => error.code,
      );
      expect([0, 'exec_resource_limit']).toContain(told);
    }
    expect(performance.now() - began).toBeLessThan(SOON_MS);
    expect((await sandbox.refresh()).status).toBe('RUNNING');
    await sandbox.delete();
  });

  test('a kill among large environments delays nobody for long', { timeout: LIMIT_MS }, async () => {
    const sandbox = await crowded(['python3', '/tmp/crowd.py']);
    const killed = sandbox.exec('sleep 1000', { timeoutMs: 500, killGraceMs: 100 }).result;
    let longest = 0;
    for (let i = 0; i < 50; i++) {
      const began = performance.now();
      await sandbox.exec(['/bin/true']);
      longest = Math.max(longest, performance.now() - began);
      await sleep(20);
    }
    expect(await killed).toMatchObject({ timedOut: true });
    expect(longest).toBeLessThan(1_000);
    await sandbox.delete();
  });
});
