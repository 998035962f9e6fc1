/** A claim's limits: read back from the kernel, and seen by programs. */
import { expect, test } from 'vitest';
import { readLimits } from '../../../agent/runtime/oci/cgroup-limits.ts';
import { findCgroups } from '../../../agent/runtime/oci/cgroup-tree.ts';
import { Bench, run, type ContractSubject } from '../../../agent/runtime/contract/subject.ts';
import { MIN_DISK_MB } from '../../../src/protocol/limits.ts';
import { CreateSandboxRequest } from '../../../src/protocol/sandbox.ts';
import { leftLoopDevices, leftMounts } from '../../helpers/leftovers.ts';
import { until } from '../../helpers/until.ts';
import { ociSubject, processOf } from './subject.ts';

const subject: ContractSubject = ociSubject();
const LIMIT_MS = 60_000;

test('the kernel has the cpu, memory and process limits of the claim', async () => {
  await using bench = await Bench.open(subject);
  const limits = { cpus: 0.5, memoryMb: 96, diskMb: null, pidsLimit: 33 };
  const { container } = await bench.claimed({ limits });
  const { cgroup } = processOf(bench.runtime, container.id);
  expect(readLimits(findCgroups(), cgroup)).toEqual({ cpus: 0.5, memoryMb: 96, pidsLimit: 33 });
});

test('with the smallest limits a sandbox runs programs, and exceeding them fails only the programs', async () => {
  await using bench = await Bench.open(subject);
  const least = { image: 'x', cpus: 0.01, memoryMb: 16, pidsLimit: 8, diskMb: MIN_DISK_MB };
  const { cpus, memoryMb, pidsLimit } = CreateSandboxRequest.parse(least);
  for (const each of [{ cpus: cpus / 2 }, { memoryMb: memoryMb - 1 }, { pidsLimit: pidsLimit - 1 }, { diskMb: 3 }]) {
    expect(CreateSandboxRequest.safeParse({ ...least, ...each }).success).toBe(false);
  }
  const { link } = await bench.claimed({ limits: { cpus, memoryMb, pidsLimit, diskMb: MIN_DISK_MB } });
  expect((await run(link, ['sh', '-c', 'echo here >/file && cat /file'])).stdout).toBe('here\n');
  const fork = await run(link, ['sh', '-c', 'for i in 1 2 3 4 5 6 7 8 9; do sleep 9 & done']);
  expect(fork.exit.exitCode).not.toBe(0);
  const hog = await run(link, ['sh', '-c', 'head -c 33554432 /dev/zero | tail -n 1 | wc -c']);
  expect(hog.stdout).not.toBe('33554432\n');
  expect((await run(link, ['true'])).exit.exitCode).toBe(0);
});

test('a program sees its limits where programs look for them', async () => {
  await using bench = await Bench.open(subject);
  const { link } = await bench.claimed({ limits: { cpus: 1, memoryMb: 96, diskMb: null, pidsLimit: 33 } });
  const files = '/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max';
  const { stdout } = await run(link, ['sh', '-c', `cat ${files} 2>/dev/null`]);
  expect(stdout.trim()).toBe(String(96 * 1024 * 1024));
  const write = await run(link, [
    'sh',
    '-c',
    `for f in ${files}; do [ -e $f ] && echo 1 >$f && echo changed; done; true`,
  ]);
  expect(write.stdout).toBe('');
});

test('a full disk is ENOSPC in its own sandbox, and does not affect another', async () => {
  await using bench = await Bench.open(subject);
  const limits = { cpus: 1, memoryMb: 256, diskMb: 16, pidsLimit: 64 };
  const [small, other] = await Promise.all([bench.claimed({ limits }), bench.claimed()]);
  const fill = await run(small.link, ['sh', '-c', 'head -c 33554432 /dev/zero >/big']);
  expect(fill.exit.exitCode).not.toBe(0);
  expect(fill.stderr).toMatch(/No space left/);
  const again = await run(small.link, ['sh', '-c', 'rm /big; head -c 4194304 /dev/zero >/part && wc -c </part']);
  expect(again.stdout.trim()).toBe('4194304');
  const elsewhere = await run(other.link, ['sh', '-c', 'head -c 33554432 /dev/zero >/big && wc -c </big']);
  expect(elsewhere.stdout.trim()).toBe('33554432');
});

test('a disk leaves neither mount nor loop device behind', async () => {
  let dataDir = '';
  {
    await using bench = await Bench.open(subject);
    dataDir = bench.dataDir;
    const limits = { cpus: 1, memoryMb: 64, diskMb: 8, pidsLimit: 64 };
    await Promise.all([bench.claimed({ limits }), bench.claimed({ limits })]);
  }
  await until(async () => (await leftLoopDevices(dataDir)).length === 0, LIMIT_MS, 'the loop devices to go');
  expect(leftMounts(dataDir)).toEqual([]);
});
