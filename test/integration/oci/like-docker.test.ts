/** A program finds the same in a claimed blank as in a Docker container with the same options. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDockerRuntime } from '../../../agent/runtime/docker/open.ts';
import { Bench, type ContractSubject } from '../../../agent/runtime/contract/subject.ts';
import { MASKED_PATHS } from '../../../agent/runtime/oci/spec.ts';
import { PROFILE_PATHS } from '../../../agent/runtime/oci/seccomp.ts';
import { CAPABILITIES } from '../../../agent/runtime/capabilities.ts';
import type { SupervisorLink } from '../../../agent/supervisor/supervisor-link.ts';
import { silent } from '../../../src/lib/logger.ts';
import { baseImage } from '../../helpers/images.ts';
import * as probes from './probes.ts';
import { ociConfig, ociSubject } from './subject.ts';

const run = promisify(execFile);
const limits = { cpus: 1.5, memoryMb: 256, diskMb: null, pidsLimit: 200 };
const claim = { sandbox: 'sbx-alike', limits };

const docker: ContractSubject = {
  ...ociSubject(),
  name: 'docker',
  open: (dataDir) => {
    const { boxinitPath, dockerSocket } = ociConfig(dataDir);
    return openDockerRuntime({ boxinitPath, dockerSocket, dataDir, runtime: 'docker', log: silent });
  },
};

/** The same in a Docker container, in a clone of the nursery and in a container started by the runtime. */
const subjects = { docker, nursery: ociSubject(), runtime: ociSubject({ nursery: false }) };
type Name = keyof typeof subjects;
const NAMES = Object.keys(subjects) as Name[];

const benches: Bench[] = [];
const links = {} as Record<Name, SupervisorLink>;

beforeAll(async () => {
  for (const name of NAMES) {
    const bench = await Bench.open(subjects[name]);
    benches.push(bench);
    // Docker's are launched with their limits, which it applies at the start as at a claim.
    const launched = await bench.launch({ limits });
    await bench.claim(launched, claim);
    links[name] = launched.link;
  }
});
afterAll(async () => {
  for (const bench of benches) await bench[Symbol.asyncDispose]();
});

type Probe = (link: SupervisorLink) => Promise<string[]>;

async function all(probe: Probe): Promise<Record<Name, string[]>> {
  const found = {} as Record<Name, string[]>;
  for (const name of NAMES) found[name] = await probe(links[name]);
  return found;
}

async function same(probe: Probe): Promise<string[]> {
  const found = await all(probe);
  expect(found.nursery).toEqual(found.docker);
  expect(found.runtime).toEqual(found.docker);
  return found.docker;
}

const shell =
  (script: string): Probe =>
  (link) =>
    probes.lines(link, script);

const passed = (calls: string[]): string[] => calls.filter((line) => line.endsWith('passed'));

/**
 * In a Docker container with the distribution's profile, as given to blanks. It is newer than Docker's built-in one,
 * and allows calls that need a namespace of one's own: the claim closes those, as Docker does.
 */
async function systemCallsByProfile(): Promise<string[]> {
  const profile = PROFILE_PATHS.find((file) => existsSync(file)) ?? '';
  const security = [`seccomp=${profile}`, 'no-new-privileges'].flatMap((option) => ['--security-opt', option]);
  const capabilities = CAPABILITIES.flatMap((name) => ['--cap-add', name.replace('CAP_', '')]);
  const rights = ['--cap-drop', 'ALL', ...capabilities, ...security, '--network', 'none'];
  const command = [baseImage(), 'perl', '-e', probes.SYSTEM_CALLS];
  const { stdout } = await run('docker', ['run', '--rm', ...rights, ...command], { timeout: 120_000 });
  return stdout.split('\n').filter((line) => line !== '');
}

/**
 * Calls allowed by engines newer than the node's, and by the profile: name_to_handle_at, process_vm_readv,
 * process_vm_writev, pkey_mprotect, pkey_alloc, pkey_free, pidfd_getfd, landlock_restrict_self.
 */
const PASSED_BY_NEWER = new Set([303, 310, 311, 329, 330, 331, 438, 446].map((number) => `${number} passed`));

test('capabilities, no_new_privs, filter, user and groups', async () => {
  const rights = await same(shell(probes.RIGHTS));
  expect(rights).toContain('NoNewPrivs:\t1');
});

test('all mounts, where and how', async () => {
  const found = await all(shell(probes.MOUNTS));
  // Docker binds these from the host; here they are files of the sandbox's own, or outside its tree.
  const ours = (line: string): boolean =>
    !/^\/etc\/(hosts|hostname|resolv\.conf) /.test(line) && !line.startsWith('/.millibox/');
  // The overlay's own options have different numbers, but the same flags.
  const expected = found.docker.filter(ours);
  // Stricter than Docker: what newer versions mask, and boxinit's own files in /proc, which are read-only.
  const stricter = ['/proc/1', ...MASKED_PATHS];
  for (const name of ['nursery', 'runtime'] as const) {
    expect(found[name].filter((line) => expected.includes(line))).toEqual(expected);
    const more = found[name].filter((line) => !expected.includes(line));
    expect(more.filter((line) => !stricter.includes(line.split(' ')[0] ?? ''))).toEqual([]);
    expect(more).toContain('/proc/1 proc ro,nosuid,nodev,noexec,relatime');
  }
});

test('the device nodes in /dev', async () => {
  expect(await same(shell(probes.DEVICES))).not.toHaveLength(0);
});

test('masked paths hold nothing, and the kernel cannot be written to', async () => {
  await same(shell(probes.MASKED));
  expect(await same(shell(probes.KERNEL_WRITES))).toEqual([]);
});

test('paths masked by newer engines only are empty too', async () => {
  const script = `for path in ${MASKED_PATHS.join(' ')}; do
    if [ -d $path ]; then ls -A $path; elif [ -e $path ]; then cat $path; fi; done; true`;
  for (const name of ['nursery', 'runtime'] as const) expect(await probes.lines(links[name], script)).toEqual([]);
  // There is something to hide.
  expect(readFileSync('/proc/interrupts', 'utf8')).toMatch(/CPU0/);
});

test('no system call is allowed that the profile refuses, and none refused that it and Docker allow', async () => {
  const found = await all((link) => probes.perlLines(link, probes.SYSTEM_CALLS));
  const profile = await systemCallsByProfile();
  expect(profile.length).toBeGreaterThan(400);
  for (const name of ['nursery', 'runtime'] as const) {
    expect(found[name]).toHaveLength(profile.length);
    expect(passed(found[name]).filter((call) => !profile.includes(call))).toEqual([]);
    const expected = passed(found.docker).filter((call) => profile.includes(call));
    expect(expected.filter((call) => !found[name].includes(call))).toEqual([]);
    // The profile has no rule for a missing CAP_SYS_ADMIN: calls that the claim needs pass it, and are closed
    // afterwards.
    const more = passed(found[name]).filter((call) => !found.docker.includes(call));
    expect(more.filter((call) => !PASSED_BY_NEWER.has(call))).toEqual([]);
  }
});

test('namespaces can neither be created nor entered', async () => {
  const found = await same((link) => probes.perlLines(link, probes.NAMESPACE_CALLS));
  expect(found.filter((line) => line.endsWith('passed'))).toEqual([]);
});

test("no socket bypasses the network namespace or reaches the kernel's ciphers", async () => {
  const tried =
    'for my $family (1, 2, 38, 40) { for my $type (1, 5) { print "$family\\n" if socket(my $s, $family, $type, 0) } }';
  expect(await same((link) => probes.perlLines(link, tried))).toEqual(['1', '1', '2']);
});

test("a process's resource limits", async () => {
  await same(shell(probes.RESOURCE_LIMITS));
});

test('cgroup limits, where programs look for them', async () => {
  const files = [
    'memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us pids/pids.max',
    'memory.max memory.swap.max cpu.max pids.max',
  ].join(' ');
  const read = `cd /sys/fs/cgroup; for file in ${files}; do [ -e $file ] && echo $file $(cat $file); done; true`;
  expect((await same(shell(read))).length).toBeGreaterThan(2);
});

test('PID 1, the view of cgroups and the shared memory', async () => {
  await same(shell('cat /proc/1/comm; df -k /dev/shm | tail -n 1'));
  for (const lines of Object.values(await all(shell("sed 's/^[^:]*:[^:]*://' /proc/self/cgroup | sort -u")))) {
    expect(lines.filter((path) => path.includes('mbx'))).toEqual([]);
  }
});

test("its hostname is the sandbox's name, in the kernel and in the files", async () => {
  const script = 'uname -n; cat /etc/hostname; grep -c sbx-alike /etc/hosts; stat -c %U:%a /etc/hosts /etc/resolv.conf';
  for (const name of ['nursery', 'runtime'] as const) {
    expect(await probes.lines(links[name], script)).toEqual(['sbx-alike', 'sbx-alike', '1', 'root:644', 'root:644']);
  }
});
