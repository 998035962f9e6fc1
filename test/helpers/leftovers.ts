/** What a test run left on the machine. Everything of a run names its directory somewhere; nothing else does. */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { tagOf } from '../../agent/runtime/oci/place.ts';

const run = promisify(execFile);

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

/** The test runner: this process, those it descends from, and those that they started. */
export function ownFamily(): Set<number> {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc').filter((each) => /^\d+$/.test(each))) {
    const parent = Number(/\) \S (\d+)/.exec(text(`/proc/${name}/stat`))?.[1]);
    if (Number.isInteger(parent)) parents.set(Number(name), parent);
  }
  const family = new Set<number>();
  for (let pid: number | undefined = process.pid; pid !== undefined && pid > 1; pid = parents.get(pid)) family.add(pid);
  // What these started and still have under them is the runner's own: workers, pipes. A service that a test left behind
  // has lost its parent, or is one of our builds.
  for (const [pid, parent] of parents) {
    if (family.has(parent) && !text(`/proc/${pid}/cmdline`).includes('/dist/')) family.add(pid);
  }
  return family;
}

/** Mounts of this mount namespace whose point or source lies below the path. */
export const leftMounts = (path: string): string[] => linesWith('/proc/self/mountinfo', path);

/** Listening or bound unix sockets below the path. */
export const leftSockets = (path: string): string[] => linesWith('/proc/net/unix', path);

/** Docker containers that name the path: in a mount, a label or their environment. */
export async function leftContainers(path: string): Promise<string[]> {
  const ids = await output('docker', ['ps', '-aq', '--no-trunc']);
  if (ids.length === 0) return [];
  // One that goes away between the two calls is no leftover, and makes inspect fail for that one only.
  const { stdout } = await run('docker', ['inspect', ...ids], { maxBuffer: 256 * 1024 * 1024 }).catch(
    (error: unknown) => error as { stdout: string },
  );
  const all = JSON.parse(stdout || '[]') as { Id: string; Name: string }[];
  return all.filter((each) => JSON.stringify(each).includes(path)).map(({ Id, Name }) => `${Id.slice(0, 12)} ${Name}`);
}

/** Loop devices whose file lies below the path. */
export async function leftLoopDevices(path: string): Promise<string[]> {
  return (await output('losetup', ['-a'])).filter((line) => line.includes(path));
}

/** Bridges and firewall tables of the agents with these data directories. */
export async function leftNetworks(dataDirs: readonly string[]): Promise<string[]> {
  const names = new Set(
    dataDirs.map((dir) => tagOf(dir).slice(0, 8)).flatMap((tag) => [`mbx-${tag}`, `millibox_${tag}`]),
  );
  const there = await Promise.all([output('ip', ['-o', 'link']), output('nft', ['list', 'tables'])]);
  return there.flat().filter((line) => line.split(/[\s:@]+/).some((word) => names.has(word)));
}

/** Control groups of the agents with these data directories. */
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

/** An engine that does not run has nothing running. */
const NO_ENGINE = /cannot connect to the docker daemon/i;

/** Lines of a program's output; none where the machine has no such program. @throws when it fails. */
async function output(file: string, args: readonly string[]): Promise<string[]> {
  try {
    const { stdout } = await run(file, args, { timeout: 60_000, maxBuffer: 64 * 1024 * 1024 });
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
