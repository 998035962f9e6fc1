/**
 * What code in a sandbox does to its own init and its own files: every exec ends in a result or a typed error, in time.
 */
import { afterEach, beforeAll, afterAll, beforeEach, describe, expect, test } from 'vitest';
import { MilliboxError, type ExecResult, type Sandbox } from '../../../src/sdk/index.ts';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { until } from '../../helpers/until.ts';

const LIMIT_MS = 180_000;
const NEVER_RAN = /^exec_(program_not_found|permission_denied|bad_cwd|bad_user|bad_args|resource_limit)$/;

/** Sets init's limits to zero. */
const STARVE_INIT = `
import resource
for name in ("NOFILE", "NPROC", "FSIZE", "AS", "DATA", "STACK", "CPU", "MEMLOCK"):
    try:
        resource.prlimit(1, getattr(resource, "RLIMIT_" + name), (1, 1))
        print("set", name)
    except OSError: pass
`;

/** Everything that root may try on PID 1 by number, also by having the kernel signal it that a pipe has data. */
const PROD_INIT = `
import ctypes, fcntl, os, signal
libc = ctypes.CDLL(None, use_errno=True)
for number in range(1, 65):
    try: os.kill(1, number)
    except OSError: pass
for number in range(1, 65):
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETOWN, 1)
    fcntl.fcntl(reader, 10, number)
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC)
    os.write(writer, b"x")
print("traced", libc.ptrace(16, 1, 0, 0), libc.ptrace(0x4206, 1, 0, 0))
for name in ("mem", "environ", "maps", "fd/4"):
    try:
        open("/proc/1/" + name, "rb").read(1)
        print("read", name)
    except OSError: pass
`;

/** A terminal in place of the table of users; its interrupt key, once a command was refused because of it. */
const TERMINAL_FOR_USERS = `
import os, time
master, slave = os.openpty()
os.remove("/etc/passwd")
os.symlink(os.ttyname(slave), "/etc/passwd")
while not os.path.exists("/tmp/asked"): time.sleep(0.01)
os.write(master, bytes([3]))
time.sleep(0.1)
open("/tmp/typed", "w").close()
`;

/** Asks its parent, which is its init, to trace it: before it gets a signal, and before it executes a program. */
const ASK_TO_BE_TRACED = `
import ctypes, os, signal
def ask(): assert ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0
signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
ask()
os.kill(os.getpid(), signal.SIGUSR1)
ask()
os.execvp("sh", ["sh", "-c", "echo executed; kill -TRAP $$"])
`;

/** Ends its first thread; another runs on. */
const END_THE_FIRST_THREAD = `
import ctypes, platform, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
print("running", flush=True)
ctypes.CDLL(None).syscall(93 if platform.machine() == "aarch64" else 60, 0)
`;

/** Traces the process whose pid appears in a file, and never looks at it again. */
const TRACE_AND_FORGET = `
import ctypes, os, time
while not os.path.exists("/tmp/pid"): time.sleep(0.01)
assert ctypes.CDLL(None).ptrace(0x4206, int(open("/tmp/pid").read()), 0, 0) == 0
open("/tmp/traced", "w").close()
time.sleep(1000)
`;

/** Processes of one group that each live only until they have forked the next. */
const FORK_AND_EXIT = `
  use POSIX ();
  $| = 1;
  $SIG{CHLD} = $SIG{TERM} = 'IGNORE';
  for (1 .. 8) { next if fork; while (1) { POSIX::_exit(0) if fork } }
  print "running\n";
  sleep 1000;
`;

describe.each(['oci', 'docker'])('on %s', (runtime) => {
  let stack: TestStack;
  let sandbox: Sandbox;
  beforeAll(async () => {
    stack = await startStack({ runtime, pool: 2 });
  }, LIMIT_MS);
  afterAll(() => stack?.stop(), LIMIT_MS);
  beforeEach(async () => {
    sandbox = await stack.client.sandboxes.create({ memoryMb: 256 });
  }, LIMIT_MS);
  afterEach(() => sandbox.delete(), LIMIT_MS);

  const outcome = (command: string | string[], options: object = {}): Promise<ExecResult | MilliboxError> =>
    sandbox.exec(command, { timeoutMs: 20_000, ...options }).result.catch((error: unknown) => error as MilliboxError);

  async function expectNeverRan(command: string | string[], options: object = {}): Promise<void> {
    const error = await outcome(command, options);
    expect(error).toBeInstanceOf(MilliboxError);
    expect((error as MilliboxError).code).toMatch(NEVER_RAN);
  }

  async function expectWell(): Promise<void> {
    expect(await outcome(['/bin/echo', 'well'])).toMatchObject({ exitCode: 0, stdout: 'well\n' });
  }

  test('its init keeps its limits, whatever root inside requests', { timeout: LIMIT_MS }, async () => {
    expect(await outcome(['python3', '-c', STARVE_INIT])).toMatchObject({ exitCode: 0, stdout: '' });
    await expectWell();
  });

  test('its init cannot be signalled, traced or read', { timeout: LIMIT_MS }, async () => {
    expect(await outcome(['python3', '-c', PROD_INIT])).toMatchObject({ stdout: 'traced -1 -1\n' });
    await expectWell();
  });

  test('its init takes no terminal for its own', { timeout: LIMIT_MS }, async () => {
    const hostile = sandbox.exec(['python3', '-c', TERMINAL_FOR_USERS]);
    await until(
      async () => (await sandbox.files.stat('/etc/passwd', { follow: false })).kind === 'symlink',
      LIMIT_MS,
      'the terminal',
    );
    await expectNeverRan('true', { user: 'somebody' });
    await sandbox.files.write('/tmp/asked', '');
    expect(await hostile).toMatchObject({ exitCode: 0 });
    await expectWell();
  });

  test('a program that asks to be traced gets its signals and its own exit', { timeout: LIMIT_MS }, async () => {
    expect(await outcome(['python3', '-c', ASK_TO_BE_TRACED])).toMatchObject({
      stdout: 'handled\nexecuted\n',
      exitCode: 128 + 5,
      signal: 'TRAP',
    });
    await expectWell();
  });

  test('a program whose first thread has ended is killed like any other', { timeout: LIMIT_MS }, async () => {
    const command = ['python3', '-c', END_THE_FIRST_THREAD];
    expect(await outcome(command, { timeoutMs: 1_000 })).toMatchObject({ stdout: 'running\n', timedOut: true });
    const left = await outcome('grep -l "^Threads:.[2-9]" /proc/[0-9]*/status');
    expect(left).toMatchObject({ exitCode: 1, stdout: '' });
    await expectWell();
  });

  test('a command whose dead leader is kept by its tracer ends by its time limit', { timeout: LIMIT_MS }, async () => {
    await sandbox.exec(['python3', '-c', TRACE_AND_FORGET], { background: true });
    const command = 'echo $$ >/tmp/new; mv /tmp/new /tmp/pid; exec sleep 1000';
    expect(await outcome(command, { timeoutMs: 2_000, killGraceMs: 100 })).toMatchObject({ timedOut: true });
    expect(await sandbox.files.exists('/tmp/traced')).toBe(true);
    await expectWell();
  });

  test('a kill catches what forks and exits without end', { timeout: LIMIT_MS }, async () => {
    const command = ['perl', '-e', FORK_AND_EXIT];
    expect(await outcome(command, { timeoutMs: 500, killGraceMs: 0 })).toMatchObject({
      stdout: 'running\n',
      timedOut: true,
    });
    const forks = await outcome('a=$(sh -c "echo \\$\\$"); sleep 0.5; echo $(($(sh -c "echo \\$\\$") - a))');
    expect(Number((forks as ExecResult).stdout)).toBeLessThan(10);
  });

  test('a shell that is a FIFO, a directory, empty or gone never ran', { timeout: LIMIT_MS }, async () => {
    await outcome('cp /bin/sh /tmp/sh');
    for (const change of ['mkfifo $s', 'mkdir $s', ': > $s; chmod 755 $s', 'ln -s $s $s', 'true']) {
      const all = `for s in $(command -v -p sh) /bin/sh /usr/bin/sh /bin/bash /usr/bin/bash; do /tmp/sh -c "rm -rf $s; s=$s; ${change.replaceAll('$', '\\$')}" 2>/dev/null; done; true`;
      await outcome(['/tmp/sh', '-c', all]);
      await expectNeverRan('echo never');
      await expectWell();
    }
  });

  test('odd user tables are not believed, and delay nobody', { timeout: LIMIT_MS }, async () => {
    for (const change of ['rm /etc/passwd', 'mkfifo /etc/passwd', 'rm /etc/passwd; truncate -s 1G /etc/passwd']) {
      await outcome(change);
      await expectNeverRan('true', { user: 'somebody' });
      await expectWell();
    }
  });

  test('a directory that is gone or too deep cannot be a working directory', { timeout: LIMIT_MS }, async () => {
    await outcome('mkdir /tmp/d');
    const stays = sandbox.exec('rmdir /tmp/d; pwd; sleep 0.1; echo on', { cwd: '/tmp/d' });
    expect((await stays).stdout).toContain('on\n');
    await expectNeverRan('true', { cwd: '/tmp/d' });
    await expectNeverRan('true', { cwd: '/x'.repeat(2000) });
    await expectWell();
  });

  test('arguments too long for the kernel are refused, and those that fit run', { timeout: LIMIT_MS }, async () => {
    // More than a request may contain, and more than the kernel accepts.
    const long = await outcome(['/bin/echo', ...Array.from({ length: 18 }, () => 'x'.repeat(120 * 1024))]);
    expect((long as MilliboxError).code).toMatch(/^(invalid_request|exec_bad_args)$/);
    expect(await outcome(['/bin/echo', 'x'.repeat(128 * 1024 - 2)])).toMatchObject({ exitCode: 0 });
    const env = Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`N${i}`, String(i)]));
    expect(await outcome('env | grep -c ^N', { env })).toMatchObject({ stdout: '1000\n' });
    const script = `: '${'x'.repeat(10 * 1024 * 1024 - 64)}'\necho ran; exit 9`;
    expect(await outcome(script, { timeoutMs: 120_000 })).toMatchObject({ exitCode: 9, stdout: 'ran\n' });
  });

  test('umask, closed descriptors and dropped capabilities affect one process', { timeout: LIMIT_MS }, async () => {
    await outcome('umask 777; exec 0<&- 1>&- 2>&-; kill -9 -1');
    expect(await outcome('umask; echo $$ > /tmp/f; cat /tmp/f | wc -l')).toMatchObject({ stdout: '0022\n1\n' });
    expect(await outcome(['setpriv', '--bounding-set=-all', '--inh-caps=-all', 'id', '-u'])).toMatchObject({
      stdout: '0\n',
    });
    await expectWell();
  });
});
