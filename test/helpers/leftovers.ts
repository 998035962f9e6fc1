/**
 * Finds what a test run left on the machine. Everything a run creates refers to its directory somewhere; nothing else
 * does.
 */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ownerOf } from '../../agent/runtime/docker/create-options.ts';
import { tagOf } from '../../agent/runtime/oci/place.ts';

const execute = promisify(execFile);

/** A run of tests, or of the bench. */
export interface Run {
  /** Contains all of its files. */
  path: string;
  /** Its agents' data directories: what they create outside is named after them. */
  dataDirs: () => readonly string[];
  /** Name prefixes of the network namespaces that it created itself. */
  namespaces?: () => readonly string[];
  /** Processes that may refer to the path. */
  except: ReadonlySet<number>;
}

/** Everything that a run may leave. A sandbox's network namespace has no name: its processes hold it. */
export const LEFTOVERS: readonly { what: string; find: (run: Run) => string[] | Promise<string[]> }[] = [
  { what: 'container', find: ({ path }) => leftContainers(path) },
  { what: 'process', find: ({ path, except }) => leftProcesses(path, except) },
  { what: 'mount', find: ({ path }) => leftMounts(path) },
  { what: 'unix socket', find: ({ path }) => leftSockets(path) },
  { what: 'control group', find: ({ dataDirs }) => leftGroups(dataDirs()) },
  { what: 'bridge, network or firewall rule', find: ({ dataDirs }) => leftNetworks(dataDirs()) },
  { what: 'network namespace', find: ({ namespaces }) => leftNamespaces(namespaces?.() ?? []) },
  { what: 'loop device', find: ({ path }) => leftLoopDevices(path) },
  { what: 'file', find: ({ path }) => leftFiles(path) },
];

/** All leftovers of a run, each with its kind. */
export async function leftOf(run: Run): Promise<string[]> {
  const found: string[] = [];
  // One after the other, so that the programs run by some of them are not found as leftovers.
  for (const { what, find } of LEFTOVERS) for (const each of await find(run)) found.push(`${what}: ${each}`);
  return found;
}

/** Living processes with the path in their arguments, environment, working directory or open files. */
export function leftProcesses(path: string, except: ReadonlySet<number>): string[] {
  const found: string[] = [];
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || except.has(pid)) continue;
    const command = text(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim();
    if (command === '') continue;
    const where = [
      command,
      text(`/proc/${pid}/environ`),
      link(`/proc/${pid}/cwd`),
      link(`/proc/${pid}/root`),
      openFiles(pid),
    ];
    if (where.some((each) => each.includes(path))) found.push(`${pid} ${command.slice(0, 200)}`);
  }
  return found;
}

/** Living processes that this one has started, or that were reparented to it. */
export const childrenOf = (pid: number): string[] =>
  [...parents()]
    .filter(([, parent]) => parent === pid)
    .map(([child]) => [child, text(`/proc/${child}/cmdline`).replaceAll('\0', ' ').trim()] as const)
    .filter(([, command]) => command !== '')
    .map(([child, command]) => `process: ${child} ${command.slice(0, 200)}`);

/** The test runner: this process, its ancestors, and the processes they started. */
export function ownFamily(): Set<number> {
  const all = parents();
  const family = new Set<number>();
  for (let pid: number | undefined = process.pid; pid !== undefined && pid > 1; pid = all.get(pid)) family.add(pid);
  // Processes still below these are the runner's own: workers, pipes. A service left behind by a test has lost its
  // parent, or is one of our builds.
  for (const [pid, parent] of all) {
    if (family.has(parent) && !text(`/proc/${pid}/cmdline`).includes('/dist/')) family.add(pid);
  }
  return family;
}

/** Every process and its parent. */
function parents(): Map<number, number> {
  const found = new Map<number, number>();
  for (const name of entries('/proc').filter((each) => /^\d+$/.test(each))) {
    const parent = Number(/\) \S (\d+)/.exec(text(`/proc/${name}/stat`))?.[1]);
    if (Number.isInteger(parent)) found.set(Number(name), parent);
  }
  return found;
}

/** Mounts of this mount namespace whose point or source lies below the path. */
export const leftMounts = (path: string): string[] => linesWith('/proc/self/mountinfo', path);

/** Listening or bound unix sockets below the path. */
const leftSockets = (path: string): string[] => linesWith('/proc/net/unix', path);

/** Docker containers that name the path: in a mount, a label or their environment. */
async function leftContainers(path: string): Promise<string[]> {
  const ids = await output('docker', ['ps', '-aq', '--no-trunc']);
  if (ids.length === 0) return [];
  // A container that disappears between the two calls is no leftover, and makes inspect fail for that one only.
  const { stdout } = await execute('docker', ['inspect', ...ids], { maxBuffer: 256 * 1024 * 1024 }).catch(
    (error: unknown) => error as { stdout: string },
  );
  const all = JSON.parse(stdout || '[]') as { Id: string; Name: string }[];
  return all.filter((each) => JSON.stringify(each).includes(path)).map(({ Id, Name }) => `${Id.slice(0, 12)} ${Name}`);
}

/** Loop devices whose file lies below the path. */
export async function leftLoopDevices(path: string): Promise<string[]> {
  return (await output('losetup', ['-a'])).filter((line) => line.includes(path));
}

/** Bridges, Docker networks and firewall rules of the agents with these data directories. */
async function leftNetworks(dataDirs: readonly string[]): Promise<string[]> {
  const names = new Set(dataDirs.flatMap((dir) => [...namesOfOci(tagOf(dir)), ...namesOfDocker(ownerOf(dir))]));
  const there = await Promise.all([
    output('ip', ['-o', 'link']),
    output('nft', ['list', 'tables']),
    // It has rules only where there is a Docker engine.
    output('iptables', ['-S']).catch(() => []),
    output('docker', ['network', 'ls']),
  ]);
  return there.flat().filter((line) => line.split(/[\s:@]+/).some((word) => names.has(word)));
}

const namesOfOci = (tag: string): string[] => [`mbx-${tag.slice(0, 8)}`, `millibox_${tag.slice(0, 8)}`];
const namesOfDocker = (owner: string): string[] => [
  `mbx${owner.slice(0, 10)}`,
  `millibox_${owner.slice(0, 12)}`,
  `millibox-${owner.slice(0, 12)}`,
];

async function leftNamespaces(prefixes: readonly string[]): Promise<string[]> {
  if (prefixes.length === 0) return [];
  return (await output('ip', ['netns', 'list'])).filter((line) => prefixes.some((prefix) => line.startsWith(prefix)));
}

/** Cgroups of the agents with these data directories. */
export function leftGroups(dataDirs: readonly string[]): string[] {
  const names = new Set(dataDirs.map(tagOf));
  const roots = text('/proc/self/mountinfo')
    .split('\n')
    .flatMap((line) => /^\S+ \S+ \S+ \S+ (\S+) .* - cgroup2? /.exec(line)?.[1] ?? []);
  return roots.flatMap((root) => {
    const ours = join(root, 'millibox');
    return entries(ours)
      .filter((name) => names.has(name))
      .map((name) => join(ours, name));
  });
}

/** Results of the run, and caches that programs keep for the next one, are supposed to stay. */
const MEANT = /\.(ndjson|log)$|^(node-compile-cache|vitest|v8-compile|rustc|tsx)/;

/** Files directly below the path that are not supposed to stay. */
const leftFiles = (path: string): string[] => entries(path).filter((name) => !MEANT.test(name));

/** An engine that is not running has no containers. */
const NO_ENGINE = /cannot connect to the docker daemon/i;

/** Lines of a program's output; none if the program is not installed. @throws if it fails. */
async function output(file: string, args: readonly string[]): Promise<string[]> {
  try {
    const { stdout } = await execute(file, args, { timeout: 60_000, maxBuffer: 64 * 1024 * 1024 });
    return stdout.split('\n').filter((line) => line !== '');
  } catch (error) {
    const { code, stderr = '' } = error as NodeJS.ErrnoException & { stderr?: string };
    if (code === 'ENOENT' || NO_ENGINE.test(stderr)) return [];
    throw error;
  }
}

function linesWith(file: string, path: string): string[] {
  return text(file)
    .split('\n')
    .filter((line) => line.includes(path));
}

function openFiles(pid: number): string {
  try {
    return readdirSync(`/proc/${pid}/fd`)
      .map((fd) => link(`/proc/${pid}/fd/${fd}`))
      .join('\n');
  } catch {
    return '';
  }
}

function entries(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
