/** What is special about sandboxes on gVisor's kernel. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { Bench, run } from '../../../agent/runtime/contract/subject.ts';
import { codeOf } from '../../../agent/testing/code-of.ts';
import { Pools } from '../../../agent/pool/pools.ts';
import { silent } from '../../../src/lib/logger.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { leftLoopDevices, leftMounts } from '../../helpers/leftovers.ts';
import { until } from '../../helpers/until.ts';
import { gvisorSubject } from './subject.ts';

const LIMIT_MS = 90_000;
/** Numbers of system calls and their operations. */
const [PRCTL, PTRACE] = process.arch === 'arm64' ? [167, 117] : [157, 101];
const GET_NO_NEW_PRIVS = 39;
const ATTACH = 16;
const LIMITS = { cpus: 1, memoryMb: 256, diskMb: null, pidsLimit: 64 };

test("programs run on a kernel that is not the host's, on the image, and write only to their own layer", async () => {
  let dataDir = '';
  {
    await using bench = await Bench.open(gvisorSubject());
    dataDir = bench.dataDir;
    const [{ link }, other] = await Promise.all([bench.claimed({ limits: LIMITS }), bench.claimed({ limits: LIMITS })]);
    const sh = async (script: string, on = link): Promise<string> =>
      (await run(on, ['sh', '-c', script])).stdout.trim();
    expect(await sh('dmesg')).toContain('gVisor');
    expect(await sh('cat /etc/hosts')).toContain('localhost');
    await sh('echo mine >/etc/mine');
    expect(await sh('cat /etc/mine')).toBe('mine');
    expect(await sh('test -e /etc/mine || echo none', other.link)).toBe('none');
  }
  expect(leftMounts(dataDir)).toEqual([]);
});

test('nobody gains privileges or traces PID 1, whose environment shows no secrets', async () => {
  await using bench = await Bench.open(gvisorSubject());
  const { link } = await bench.claimed({ limits: LIMITS });
  const calls = `print syscall(${PRCTL}, ${GET_NO_NEW_PRIVS}, 0, 0, 0, 0), ' ', syscall(${PTRACE}, ${ATTACH}, 1, 0, 0)`;
  expect((await run(link, ['perl', '-e', calls])).stdout).toBe('1 -1');
  const { stdout } = await run(link, ['sh', '-c', 'tr "\\0" "\\n" </proc/1/environ']);
  expect(stdout).toMatch(/^MILLIBOX_TOKEN=x+$/m);
});

test('exceeding its memory ends the whole sandbox, with an OOM reason', async () => {
  await using bench = await Bench.open(gvisorSubject());
  const ended: (boolean | null)[] = [];
  bench.runtime.onExit((_id, { oomKilled }) => ended.push(oomKilled));
  const { link } = await bench.claimed({ limits: { ...LIMITS, memoryMb: 64 } });
  const outcome = await codeOf(run(link, ['sh', '-c', 'tail -n 1 /dev/zero >/dev/null']));
  expect(outcome).toBe('interrupted');
  await until(() => ended.length > 0, LIMIT_MS, 'the end of the sandbox');
  expect(ended).toEqual([true]);
});

test("files in /tmp use disk, and not the sandbox's memory", async () => {
  await using bench = await Bench.open(gvisorSubject());
  const { link } = await bench.claimed({ limits: { ...LIMITS, memoryMb: 64 } });
  const { stdout } = await run(link, ['sh', '-c', 'head -c 134217728 /dev/zero >/tmp/big && wc -c </tmp/big']);
  expect(stdout.trim()).toBe('134217728');
});

test('a full disk is ENOSPC in its own sandbox, and leaves neither mount nor loop device', async () => {
  let dataDir = '';
  {
    await using bench = await Bench.open(gvisorSubject());
    dataDir = bench.dataDir;
    const { link } = await bench.claimed({ limits: { ...LIMITS, diskMb: 16 } });
    for (const file of ['/big', '/tmp/big']) {
      const fill = await run(link, ['sh', '-c', `head -c 33554432 /dev/zero >${file}`]);
      expect(fill.stderr).toMatch(/No space left/);
      const again = await run(link, ['sh', '-c', `rm ${file}; head -c 4194304 /dev/zero >/part && wc -c </part`]);
      expect(again.stdout.trim()).toBe('4194304');
    }
  }
  await until(async () => (await leftLoopDevices(dataDir)).length === 0, LIMIT_MS, 'the loop devices to go');
  expect(leftMounts(dataDir)).toEqual([]);
});

test('a claim with a disk size gets a container of its own, not a warm one without a disk', async () => {
  await using bench = await Bench.open(gvisorSubject());
  const { runtime, launcher, image } = bench;
  const bounds = { min: 1, max: 1, defaultImage: image.ref, launchConcurrency: 2 };
  const rest = { occupied: () => false, log: silent, onChange: () => undefined };
  const pools = new Pools({ runtime, launcher, limits: LIMITS, ...bounds, ...rest });
  try {
    pools.prewarm(image);
    await until(() => pools.states().some(({ warm }) => warm === 1), LIMIT_MS, 'a container that waits');
    const wanted = { sandbox: 'sbx-disk', image, network: 'off', limits: { ...LIMITS, diskMb: 16 } } as const;
    expect(pools.takeWarm(wanted)).toBeUndefined();
    const launched = await pools.waitFor(wanted, AbortSignal.timeout(LIMIT_MS));
    await runtime.claim(launched.container, launched.link, wanted);
    expect((await run(launched.link, ['true'])).exit.exitCode).toBe(0);
    await launcher.discard(launched.container.id, launched.link);
    expect(pools.takeWarm({ ...wanted, limits: LIMITS })).toBeDefined();
  } finally {
    await pools.close({ destroy: true });
    await launcher.settled(AbortSignal.timeout(LIMIT_MS));
    await Promise.all((await runtime.list()).map(({ id }) => runtime.destroy(id)));
  }
});

test('processes are limited, and nobody inside can raise the limit', async () => {
  await using bench = await Bench.open(gvisorSubject());
  const { link } = await bench.claimed({ limits: { ...LIMITS, pidsLimit: 10 } });
  const script = 'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do sleep 1 & done; echo all';
  expect((await run(link, ['bash', '-c', 'ulimit -u 1000'])).exit.exitCode).not.toBe(0);
  const { stdout, stderr } = await run(link, ['sh', '-c', script]);
  expect(stdout).not.toContain('all');
  expect(stderr).toMatch(/fork/i);
  expect((await run(link, ['true'])).exit.exitCode).toBe(0);
});

test("killing PID 1 ends one's own sandbox, which is reported, but not as an OOM kill", async () => {
  await using bench = await Bench.open(gvisorSubject());
  const ended: { id: string; oomKilled: boolean | null }[] = [];
  bench.runtime.onExit((id, { oomKilled }) => ended.push({ id, oomKilled }));
  const [{ container, link }, other] = await Promise.all([bench.claimed(), bench.claimed()]);
  expect(await codeOf(run(link, ['sh', '-c', 'kill -9 1; sleep 60']))).toBe('interrupted');
  await until(() => ended.length > 0, LIMIT_MS, 'the end of the sandbox');
  expect(ended).toEqual([{ id: container.id, oomKilled: false }]);
  expect((await run(other.link, ['true'])).exit.exitCode).toBe(0);
});

test('an image is in use from the start of a launch, until the launch fails', async () => {
  await using bench = await Bench.open(gvisorSubject());
  const { images } = bench.runtime;
  const inUse = async (): Promise<boolean> => (await images.list()).some((image) => image.inUse);
  // Nobody listens there for its boxinit.
  const options = { id: 'mbx-own', limits: LIMITS, network: 'off' as const, socketDir: bench.dataDir, token: 'none' };
  const starting = bench.runtime.launch({ ...options, image: bench.image });
  expect(await codeOf(images.remove(bench.image.ref))).toBe('invalid_request');
  await starting;
  expect(await inUse()).toBe(true);
  await bench.runtime.destroy(options.id);
  expect(await inUse()).toBe(false);

  const aborted = { ...options, image: bench.image, signal: AbortSignal.abort(new ServiceError('cancelled')) };
  expect(await codeOf(bench.runtime.launch(aborted))).toBe('cancelled');
  expect(await inUse()).toBe(false);
  // A file is in place of its directory.
  writeFileSync(path.join(bench.dataDir, 'gvisor', 'boxes', options.id), '');
  expect(await codeOf(bench.runtime.launch({ ...options, image: bench.image }))).toBe('internal');
  expect(await inUse()).toBe(false);
});
