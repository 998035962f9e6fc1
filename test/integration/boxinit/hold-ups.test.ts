/** Code in a sandbox that keeps programs from being executed: each such exec is refused, and the sandbox continues. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MilliboxError, type ExecResult, type Sandbox } from '../../../src/sdk/index.ts';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { until } from '../../helpers/until.ts';

const LIMIT_MS = 180_000;
/** The kernel breaks a lease after 45 s; an init that is silent for about 50 s ends its sandbox. */
const SOON_MS = 30_000;

/**
 * Stops whatever gets one of the next pids, as soon as it exists. It asks again and again which pid was the last: pids
 * used while it did not run itself are behind it, and would be awaited in vain.
 */
const STOPPER = `
import os, signal, time
def last():
    return int(open("/proc/loadavg").read().split()[-1])
base = last()
open("/tmp/stopping", "w").close()
end = time.monotonic() + 60
while time.monotonic() < end and not os.path.exists("/tmp/enough"):
    base = max(base, last())
    for _ in range(2000):
        for pid in range(base + 1, base + 4):
            try:
                os.kill(pid, signal.SIGSTOP)
                base = pid
            except ProcessLookupError:
                pass
`;

const LESSEE = `
import fcntl, os, shutil, signal, time
shutil.copyfile("/bin/true", "/tmp/leased")
os.chmod("/tmp/leased", 0o755)
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open("/tmp/leased", os.O_RDONLY)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
open("/tmp/holding", "w").close()
time.sleep(600)
`;

/** A lease too, and more locks than the kernel can list in a minute. */
const LOCKSMITH = `
import fcntl, os, resource, signal, time
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
signal.signal(signal.SIGIO, signal.SIG_IGN)
with open("/tmp/leased", "wb") as copy: copy.write(open("/bin/true", "rb").read())
os.chmod("/tmp/leased", 0o755)
fcntl.fcntl(os.open("/tmp/leased", os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_WRLCK)
for number in range(600):
    fd = os.open(f"/dev/shm/{number}", os.O_CREAT | os.O_RDWR)
    for at in range(2000, 0, -2): fcntl.lockf(fd, fcntl.LOCK_EX, 1, at)
open("/tmp/holding", "w").close()
time.sleep(600)
`;

describe.each(['oci', 'docker'])('on %s', (runtime) => {
  let stack: TestStack;
  beforeAll(async () => {
    stack = await startStack({ runtime, pool: 1 });
  }, LIMIT_MS);
  afterAll(() => stack?.stop(), LIMIT_MS);

  async function sandboxWith(script: string, sign: string): Promise<Sandbox> {
    const sandbox = await stack.client.sandboxes.create({ memoryMb: 1_024 });
    await sandbox.exec(['python3', '-c', script], { background: true });
    await until(async () => await sandbox.files.exists(sign), LIMIT_MS, 'the hostile program to be ready');
    return sandbox;
  }

  test('a program whose file is leased never ran, and others do not wait for it', { timeout: LIMIT_MS }, async () => {
    const sandbox = await sandboxWith(LESSEE, '/tmp/holding');
    const began = performance.now();
    const held = Array.from({ length: 20 }, () =>
      sandbox.exec(['/tmp/leased']).result.catch((error: unknown) => error),
    );
    expect((await sandbox.exec('echo other')).stdout).toBe('other\n');
    for (const outcome of await Promise.all(held)) expect(outcome).toMatchObject({ code: 'exec_permission_denied' });
    expect(performance.now() - began).toBeLessThan(SOON_MS);
    await sandbox.delete();
  });

  test('a lease is recognised among any number of locks', { timeout: LIMIT_MS }, async () => {
    const sandbox = await sandboxWith(LOCKSMITH, '/tmp/holding');
    const began = performance.now();
    for (let i = 0; i < 5; i++) {
      await expect(sandbox.exec(['/tmp/leased']).result).rejects.toMatchObject({ code: 'exec_permission_denied' });
    }
    expect(performance.now() - began).toBeLessThan(SOON_MS);
    await sandbox.delete();
  });

  test('a process stopped before its execve never ran', { timeout: LIMIT_MS }, async () => {
    const sandbox = await sandboxWith(STOPPER, '/tmp/stopping');
    const outcomes: (ExecResult | MilliboxError)[] = [];
    for (let i = 0; i < 200 && !outcomes.some((outcome) => outcome instanceof MilliboxError); i++) {
      // One stopped after its execve has run, and ends by its limit.
      const outcome = sandbox.exec(['/bin/true'], { timeoutMs: 500, killGraceMs: 0 });
      outcomes.push(await outcome.result.catch((error: unknown) => error as MilliboxError));
      await sleep(10);
    }
    expect(outcomes.at(-1)).toMatchObject({ code: 'exec_permission_denied' });
    await sandbox.files.write('/tmp/enough', '');
    await until(
      async () => (await sandbox.exec('echo ok', { timeoutMs: 2_000 }).result.catch(() => null))?.stdout === 'ok\n',
      LIMIT_MS,
      'commands to run again',
    );
    expect((await sandbox.refresh()).status).toBe('RUNNING');
    await sandbox.delete();
  });
});
