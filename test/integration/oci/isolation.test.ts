/** What code in a claimed blank cannot reach: the host, the blank's first root, other sandboxes, its own supervisor. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { isDeepStrictEqual, promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Bench, run } from '../../../agent/runtime/contract/subject.ts';
import { ServiceError, type ErrorCode } from '../../../src/protocol/errors.ts';
import type { Launched } from '../../../agent/pool/launcher.ts';
import type { SupervisorLink } from '../../../agent/supervisor/supervisor-link.ts';
import { isAlive } from '../../../agent/runtime/oci/pids.ts';
import { until } from '../../helpers/until.ts';
import { AT_BOXINIT, AT_THE_KERNEL, AT_THE_NETWORK } from './hostile-probes.ts';
import * as probes from './probes.ts';
import { ociSubject, processOf } from './subject.ts';

const exec = promisify(execFile);
const LIMIT_MS = 60_000;

let bench: Bench;
/** One from the nursery, and one started by the runtime. */
let sandboxes: Launched[];
const benches: Bench[] = [];

beforeAll(async () => {
  bench = await Bench.open(ociSubject());
  const byRuntime = await Bench.open(ociSubject({ nursery: false }));
  benches.push(bench, byRuntime);
  sandboxes = [await bench.claimed(), await byRuntime.claimed()];
  for (const { dataDir } of benches) {
    mkdirSync(path.join(dataDir, 'witness'));
    writeFileSync(path.join(dataDir, 'witness', 'of-the-host'), 'secret');
  }
});
afterAll(async () => {
  for (const each of benches) await each[Symbol.asyncDispose]();
});

/** Far more than boxinit has. */
const DESCRIPTORS = Array.from({ length: 48 }, (_, number) => number);
/** Names that exist in the agent's directories and in no image. */
const FOREIGN = /of-the-host|witness|agent\.sock|meta\.json|state\.json|nurseries|mbx-/;

/** boxinit's errors for a path that leads nowhere, or may not be followed. Any other failure is the test's. */
const REFUSALS: readonly ErrorCode[] = ['file_not_found', 'invalid_request', 'exec_bad_cwd'];

async function unlessRefused(text: Promise<string>): Promise<string> {
  try {
    return await text;
  } catch (error) {
    if (error instanceof ServiceError && REFUSALS.includes(error.code)) return '';
    throw error;
  }
}

const listing = (link: SupervisorLink, where: string): Promise<string> =>
  unlessRefused(link.call({ op: 'file', call: 'list', path: where }).then((answer) => JSON.stringify(answer)));

const LOOK = ['sh', '-c', 'ls -a; ls -a ..; ls -a ../..; ls -a ../../..'];

const ranIn = (link: SupervisorLink, cwd: string): Promise<string> =>
  unlessRefused(run(link, LOOK, { cwd }).then(({ stdout }) => stdout));

test('no path of a program leads to the host', async () => {
  for (const [at, { link }] of sandboxes.entries()) {
    const { dataDir } = benches[at] ?? bench;
    const script = `
      for path in ${dataDir} /.millibox /run/millibox; do [ -e $path ] && echo $path; done
      find / -xdev -name of-the-host 2>/dev/null
      awk '$5 !~ "^/($|proc|sys|dev)" { print $5 }' /proc/self/mountinfo
      ls -a / | grep -E 'millibox|witness'
      # The classic way out of a root: deeper root, then up from outside of it.
      mkdir -p /jail
      perl -e 'chroot("/jail") or die; chdir(".." x 1) for 1 .. 64; chdir("../") for 1 .. 64; chroot("."); print join(" ", sort grep { /millibox|witness/ } glob("/.* /*")), "\\n"'
      rmdir /jail; true`;
    expect((await probes.lines(link, script)).filter((line) => line.trim() !== '')).toEqual([]);
  }
});

test("boxinit no longer writes to any file of the node: a blank's log ends with its claim", () => {
  for (const [at, { container }] of sandboxes.entries()) {
    const { pid } = processOf((benches[at] ?? bench).runtime, container.id);
    const standard = [0, 1, 2].map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    expect(standard).toEqual(['/dev/null', '/dev/null', '/dev/null']);
  }
});

test('boxinit follows no /proc link to what it holds open itself, whatever it does for others', async () => {
  for (const { link } of sandboxes) {
    // A file outside would be seen, even through a link.
    await probes.lines(link, 'mkdir -p /tmp/outside/agent.sock && ln -sfn /tmp/outside /tmp/a-link');
    for (const where of ['/tmp/outside', '/tmp/a-link', '/tmp/outside/agent.sock/..']) {
      expect(await listing(link, where)).toMatch(FOREIGN);
      expect(await ranIn(link, where)).toMatch(FOREIGN);
    }
    await probes.lines(link, 'rm -r /tmp/outside /tmp/a-link');
    await probes.lines(link, `for n in ${DESCRIPTORS.join(' ')}; do ln -sfn /proc/self/fd/$n /tmp/link-$n; done`);
    for (const number of DESCRIPTORS) {
      for (const start of [`/proc/self/fd/${number}`, `/proc/1/fd/${number}`, `/tmp/link-${number}`]) {
        for (const up of ['', '/..', '/../..', '/../../..', '/../../../witness']) {
          expect(await listing(link, `${start}${up}`)).not.toMatch(FOREIGN);
          expect(await ranIn(link, `${start}${up}`)).not.toMatch(FOREIGN);
        }
      }
    }
    for (const where of [
      '/proc/self/root',
      '/proc/self/cwd',
      '/proc/self/cwd/..',
      '/proc/1/root',
      '/proc/self/task/1/cwd',
    ]) {
      expect(await listing(link, where)).not.toMatch(FOREIGN);
      expect(await ranIn(link, where)).not.toMatch(FOREIGN);
    }
  }
});

test('boxinit can be neither traced nor killed nor read by root', async () => {
  for (const [at, { link, container }] of sandboxes.entries()) {
    expect(await probes.perlLines(link, AT_BOXINIT)).toEqual([]);
    expect(isAlive(processOf((benches[at] ?? bench).runtime, container.id))).toBe(true);
    expect((await run(link, ['true'])).exit.exitCode).toBe(0);
  }
});

test("a sandbox has its share of the node's terminals, and no more", async () => {
  const script =
    'my @all; while (@all < 300 && open(my $t, "+<", "/dev/ptmx")) { push @all, $t } print scalar(@all), "\\n"';
  for (const { link } of sandboxes) expect(await probes.perlLines(link, script)).toEqual(['256']);
});

test('sandboxes share no files, processes, names, memory or network, and leave the image unchanged', async () => {
  const [a, b] = await Promise.all([bench.claimed({ sandbox: 'sbx-a' }), bench.claimed({ sandbox: 'sbx-b' })]);
  const make = `
    echo mine >/mine; echo mine >/tmp/mine; echo mine >/dev/shm/mine; echo changed >/etc/passwd; rm /usr/bin/find
    perl -e 'shmget(4242, 4096, 01666) // die'
    sleep 300 & perl -MIO::Socket -e '$s = IO::Socket::INET->new(Listen => 1, LocalPort => 4242) or die; sleep 300' &`;
  expect((await run(a.link, ['sh', '-c', make], { background: true })).exit.exitCode).toBe(0);
  const look = `
    ls -d /mine /tmp/mine /dev/shm/mine 2>/dev/null; grep changed /etc/passwd; ls /usr/bin/find 2>/dev/null; uname -n
    grep -c 4242 /proc/sysvipc/shm; cat /proc/[0-9]*/comm | grep -cx sleep
    perl -MIO::Socket -e 'print "reached\\n" if IO::Socket::INET->new("127.0.0.1:4242")'; true`;
  const all = ['/dev/shm/mine', '/mine', '/tmp/mine', 'changed', 'sbx-a', '1', '1', 'reached'];
  // In its own sandbox all of it exists, the listener after a moment.
  await until(async () => isDeepStrictEqual(await probes.lines(a.link, look), all), LIMIT_MS, 'what the first made');
  expect(await probes.lines(b.link, look)).toEqual(['/usr/bin/find', 'sbx-b', '0', '0']);
});

test('a device node gives no access, whoever created it', async () => {
  for (const each of benches) {
    const launched = await each.launch();
    const upper = path.join(each.dataDir, 'oci', 'boxes', launched.container.id, 'upper');
    // Like one from an image's layer: a disk, the memory, a loop device.
    for (const [name, ...numbers] of [
      ['disk', 'b', '254', '0'],
      ['loop', 'b', '7', '0'],
      ['mem', 'c', '1', '1'],
    ]) {
      await exec('mknod', [path.join(upper, name ?? ''), ...numbers]);
    }
    await each.claim(launched);
    const script = `
      for name in disk loop mem; do [ -e /$name ] || echo missing $name; head -c 1 /$name && echo read $name; done
      mknod /made b 254 0 && echo made; true`;
    expect(await probes.lines(launched.link, script)).toEqual([]);
  }
});

test('other users of the node can reach no file of a sandbox: it may be setuid root', async () => {
  const { container, link } = await bench.claimed();
  await probes.lines(link, 'cp /bin/cat /root-cat && chmod 4755 /root-cat');
  chmodSync(bench.dataDir, 0o711);
  const program = path.join(bench.dataDir, 'oci', 'boxes', container.id, 'upper', 'root-cat');
  expect(existsSync(program)).toBe(true);
  await expect(exec(program, ['/dev/null'], { uid: 65_534, gid: 65_534 })).rejects.toThrow(/EACCES/);
});

test('no packet can be forged, and no interface, address, route, neighbour or rule be set', async () => {
  for (const { link } of sandboxes) expect(await probes.pythonLines(link, AT_THE_NETWORK)).toEqual([]);
  // Where it is allowed, the same program succeeds in nearly all of it.
  const { stdout } = await exec('unshare', ['--net', 'python3', '-c', AT_THE_NETWORK]);
  const done = [
    'raw 2 255',
    'packets 3',
    'card address',
    'a new address',
    'a new neighbour',
    'a new table of nftables',
  ];
  expect(stdout.split('\n')).toEqual(expect.arrayContaining(done));
});

test('nothing reaches into the kernel, and nothing can be mounted', async () => {
  for (const { link } of sandboxes) expect(await probes.pythonLines(link, AT_THE_KERNEL)).toEqual([]);
});

test('abstract sockets of the node are invisible, with the network off', async () => {
  const name = `millibox-test-${process.pid}`;
  const serve = `
import socket, sys
s = socket.socket(socket.AF_UNIX); s.bind('\\0${name}'); s.listen(); print('ready', flush=True); sys.stdin.read()`;
  const reach = `
import socket
s = socket.socket(socket.AF_UNIX)
try:
    s.connect('\\0${name}'); print('reached')
except ConnectionRefusedError: print('refused')`;
  const server = spawn('python3', ['-c', serve], { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    await once(server.stdout, 'data');
    expect((await exec('python3', ['-c', reach])).stdout).toBe('reached\n');
    for (const { link } of sandboxes) expect(await probes.pythonLines(link, reach)).toEqual(['refused']);
  } finally {
    server.kill('SIGKILL');
  }
});
