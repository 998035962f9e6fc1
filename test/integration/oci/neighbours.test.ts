/** What a sandbox can take from others: node resources that its limits might miss. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findCgroups, processesIn } from '../../../agent/runtime/oci/cgroup-tree.ts';
import { Bench, LIMITS, run } from '../../../agent/runtime/contract/subject.ts';
import { until } from '../../helpers/until.ts';
import { AT_THE_DISK, HOARDS } from './hostile-probes.ts';
import * as probes from './probes.ts';
import { ociSubject, processOf } from './subject.ts';

const MEBIBYTE = 1024 * 1024;
const LIMIT_MS = 60_000;

let bench: Bench;
beforeAll(async () => {
  bench = await Bench.open(ociSubject());
});
afterAll(() => bench[Symbol.asyncDispose]());

/**
 * Fills this many sockets for a reader that never reads, and prints how many bytes that took. Three such messages fit
 * in one by every kernel's count, a fourth only by some.
 */
const FILL_SOCKETS = `
import socket
held = []
for _ in range(500):
    reader, writer = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    reader.bind(('127.0.0.1', 0))
    reader.setblocking(False)
    held.append(reader)
    try:
        for _ in range(3): writer.sendto(bytes(60000), reader.getsockname())
    except OSError: pass
    writer.close()
total = 0
for reader in held:
    try:
        while True: total += len(reader.recv(65536))
    except BlockingIOError: pass
print(total)
`;

test('socket buffers count against the memory limit', async () => {
  const { link } = await bench.claimed({ limits: { cpus: 1, memoryMb: 32, diskMb: null, pidsLimit: 64 } });
  const { stdout, stderr, exit } = await run(link, ['python3', '-c', FILL_SOCKETS]);
  expect(stderr).toBe('');
  // v1 refuses more to the socket. v2 counts it with everything else, and kills the program for it.
  if (findCgroups().version === 2) {
    expect(exit).toMatchObject({ oomKilled: true });
  } else {
    expect(Number(stdout)).toBeGreaterThan(MEBIBYTE);
    expect(Number(stdout)).toBeLessThan(33 * MEBIBYTE);
  }
  // Once it is free again, sockets work again.
  expect(await probes.lines(link, `python3 -c "${FILL_SOCKETS.replace('500', '2')}"`)).toEqual(['360000']);
});

test('a disk limits what no size shows: inodes, unlinked files, holes, and names', async () => {
  const limits = { ...LIMITS, memoryMb: 128, diskMb: 16 };
  const { link } = await bench.claimed({ limits });
  const { stdout, stderr } = await run(link, ['python3', '-c', AT_THE_DISK]);
  expect(stderr).toBe('');
  expect(stdout.trim().split('\n')).toEqual([
    'files with nothing in them No space left on device',
    'files without a name No space left on device',
    'what is written into a hole No space left on device',
    expect.stringMatching(/^names of one file (No space left on device|Too many links)$/),
  ]);
  expect((await run(link, ['sh', '-c', 'echo again >/again && cat /again'])).stdout).toBe('again\n');
});

test.each(Object.entries(HOARDS))(
  '%s hold memory of their own sandbox, whose program ends for it',
  async (_, script) => {
    const { link } = await bench.claimed({ limits: { ...LIMITS, memoryMb: 48 } });
    expect((await run(link, ['python3', '-c', script])).exit).toMatchObject({ oomKilled: true });
    expect((await run(link, ['true'])).exit.exitCode).toBe(0);
  },
);

test('a sandbox that fills its shared memory has used its own, and works again once it is freed', async () => {
  const { link } = await bench.claimed({ limits: { ...LIMITS, memoryMb: 48 } });
  const fill = 'for at in 1 2 3 4 5 6 7 8; do head -c 16M /dev/zero >/dev/shm/$at || exit 9; done';
  expect((await run(link, ['sh', '-c', fill])).exit.exitCode).not.toBe(0);
  expect(link.connected).toBe(true);
  // By boxinit itself: a program might not find enough memory to start.
  for (const at of [1, 2, 3, 4, 5, 6, 7, 8]) {
    await link.call({ op: 'file', call: 'remove', path: `/dev/shm/${at}` }).catch(() => undefined);
  }
  expect((await run(link, ['echo', 'well'])).stdout).toBe('well\n');
});

test('when memory runs out, the kernel kills programs before boxinit, however small they are', async () => {
  const { link } = await bench.claimed();
  // It is marked once it runs.
  const marked = 'until [ "$(cat /proc/$$/oom_score_adj)" = 1000 ]; do :; done';
  const scores = await run(link, ['sh', '-c', `${marked}; cat /proc/self/oom_score_adj /proc/1/oom_score_adj`]);
  const [program, supervisor] = scores.stdout.split('\n').map(Number);
  expect(program).toBe(1000);
  expect(supervisor).toBeLessThan(1000);
});

test('a sandbox full of forking processes is destroyed at once, with all of them', async () => {
  const limits = { ...LIMITS, memoryMb: 128, pidsLimit: 200 };
  const [launched, neighbour] = await Promise.all([bench.claimed({ limits }), bench.claimed()]);
  const { cgroup } = processOf(bench.runtime, launched.container.id);
  const bomb = 'f() { f | f & }; trap "" TERM HUP INT; f; while :; do f; done';
  run(launched.link, ['bash', '-c', bomb]).catch(() => undefined);
  await until(() => processesIn(findCgroups(), cgroup).length > 50, LIMIT_MS, 'the processes');
  // Its neighbour does not notice.
  expect((await run(neighbour.link, ['echo', 'calm'])).stdout).toBe('calm\n');
  await bench.launcher.discard(launched.container.id, launched.link);
  expect(processesIn(findCgroups(), cgroup)).toEqual([]);
  expect(await bench.exists(launched.container.id)).toBe(false);
});
