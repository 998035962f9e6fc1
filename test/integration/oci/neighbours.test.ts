/** What a sandbox can take from those beside it: of things of the node that its limits might leave out. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findCgroups } from '../../../agent/runtime/oci/cgroup-tree.ts';
import { Bench, run } from '../../../agent/runtime/contract/subject.ts';
import * as probes from './probes.ts';
import { ociSubject } from './subject.ts';

const MEBIBYTE = 1024 * 1024;

let bench: Bench;
beforeAll(async () => {
  bench = await Bench.open(ociSubject());
});
afterAll(() => bench[Symbol.asyncDispose]());

/**
 * Fills what so many sockets hold for a reader who does not come, and prints how many bytes that were. Three such messages
 * fit in one by every kernel's count, a fourth only by that of some.
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

test('what sockets hold counts against the limit of memory', async () => {
  const { link } = await bench.claimed({ limits: { cpus: 1, memoryMb: 32, diskMb: null, pidsLimit: 64 } });
  const { stdout, stderr, exit } = await run(link, ['python3', '-c', FILL_SOCKETS]);
  expect(stderr).toBe('');
  // Version 1 refuses more to the socket. Version 2 counts it with all else, and ends the program for it.
  if (findCgroups().version === 2) {
    expect(exit).toMatchObject({ oomKilled: true });
  } else {
    expect(Number(stdout)).toBeGreaterThan(MEBIBYTE);
    expect(Number(stdout)).toBeLessThan(33 * MEBIBYTE);
  }
  // Once it is free again, sockets are of use again.
  expect(await probes.lines(link, `python3 -c "${FILL_SOCKETS.replace('500', '2')}"`)).toEqual(['360000']);
});
