/** This machine's cgroups: the hierarchies of v1, or the single one of v2. */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { pathIn } from './mount-table.ts';

/** Attempts to empty a group, since processes may fork while others are being moved. */
const MOVES = 10;
const CONTROLLERS = ['memory', 'cpu', 'pids'] as const;
type Controller = (typeof CONTROLLERS)[number];
/** What the kernel shows for a process of another PID namespace. */
const UNSEEN = 0;

export interface CgroupTree {
  version: 1 | 2;
  /** Mount point of each required controller's hierarchy; all the same in v2. */
  controllers: Readonly<Record<Controller, string>>;
  /**
   * The hierarchies as Docker mounts them in a container, below /sys/fs/cgroup; an empty name means that path itself.
   */
  views: readonly { name: string; kind: string; options: string }[];
  /** Mount points of all hierarchies: a runtime makes a group in each. */
  hierarchies: readonly string[];
}

/** @throws ServiceError `not_supported` if a required controller is missing. */
export function findCgroups(mountinfo = readFileSync('/proc/self/mountinfo', 'utf8')): CgroupTree {
  const mounts = mountinfo
    .split('\n')
    .map((line) => /^\S+ \S+ \S+ \S+ (\S+) .* - (cgroup2?) \S+ (\S+)$/.exec(line))
    .filter((match) => match !== null)
    .map(([, point = '', kind = '', options = '']) => ({ point: pathIn(point), kind, options }));
  const hierarchies = [...new Set(mounts.map(({ point }) => point))];
  const unified = mounts.find(({ kind }) => kind === 'cgroup2');
  const find = (controller: Controller): string | undefined =>
    mounts.find(({ kind, options }) => kind === 'cgroup' && options.split(',').includes(controller))?.point;
  const [memory, cpu, pids] = CONTROLLERS.map(find);
  if (memory !== undefined && cpu !== undefined && pids !== undefined) {
    const views = mounts
      .filter(({ kind }) => kind === 'cgroup')
      .map(({ point, kind, options }) => ({ name: basename(point), kind, options: namesOnly(options) }));
    return { version: 1, controllers: { memory, cpu, pids }, views, hierarchies };
  }
  if (unified === undefined || !hasControllers(unified.point)) {
    throw new ServiceError('not_supported', 'the kernel has no memory, cpu and pids control groups mounted');
  }
  const { point } = unified;
  const views = [{ name: '', kind: 'cgroup2', options: '' }];
  return { version: 2, controllers: { memory: point, cpu: point, pids: point }, views, hierarchies };
}

/**
 * This machine's cgroups, prepared for creating groups in them.
 * @throws ServiceError `not_supported` if a required controller is missing, or cannot be passed down.
 */
export function openCgroups(): CgroupTree {
  const tree = findCgroups();
  if (tree.version === 2) makeRoom(tree.controllers.memory);
  return tree;
}

/**
 * In a container with a private view, the visible top is an ordinary group that holds the container's processes, and
 * such a group passes no controllers down. Moves them into a group `init` below it, as Docker's own dind image does.
 * @throws ServiceError `not_supported`.
 */
export function makeRoom(root: string): void {
  // The kernel's root group has no such file, and need not be empty.
  if (!existsSync(join(root, 'cgroup.type'))) return;
  try {
    if (!handsDown(root)) enable(root);
    for (let attempt = 0; !handsDown(root); attempt += 1) {
      if (attempt === MOVES) throw new Error('processes stay in it');
      mkdirSync(join(root, 'init'), { recursive: true });
      for (const pid of processesOf(root)) moveInto(join(root, 'init'), pid);
      enable(root);
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ServiceError('not_supported', `the control group at ${root} cannot be divided: ${why}`, { cause: error });
  }
}

function moveInto(group: string, pid: number): void {
  try {
    writeFileSync(join(group, 'cgroup.procs'), String(pid));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function handsDown(group: string): boolean {
  const handed = readFileSync(join(group, 'cgroup.subtree_control'), 'utf8').trim().split(' ');
  return CONTROLLERS.every((controller) => handed.includes(controller));
}

/** The mount options that name a hierarchy's controllers. */
function namesOnly(options: string): string {
  const other = ['rw', 'ro', 'xattr', 'clone_children', 'noprefix', 'favordynmods'];
  return options
    .split(',')
    .filter((option) => !other.includes(option) && !option.startsWith('release_agent='))
    .join(',');
}

function hasControllers(point: string): boolean {
  try {
    const there = readFileSync(join(point, 'cgroup.controllers'), 'utf8').trim().split(' ');
    return CONTROLLERS.every((controller) => there.includes(controller));
  } catch {
    return false;
  }
}

/** Creates a group and its parents. In v2, each parent passes its controllers down. */
export function makeGroup(tree: CgroupTree, path: string): void {
  if (tree.version === 1) {
    for (const root of rootsOf(tree)) mkdirSync(join(root, path), { recursive: true });
    return;
  }
  const root = tree.controllers.memory;
  const parts = path.split('/').filter((part) => part !== '');
  for (let depth = 0; depth < parts.length; depth += 1) {
    const parent = join(root, ...parts.slice(0, depth));
    enable(parent);
    const group = join(root, ...parts.slice(0, depth + 1));
    if (!existsSync(group)) mkdirSync(group, { recursive: true });
  }
}

/**
 * Creates a group inside an existing one. In v1 in the thread pool: there are several to make, and while many are made or
 * removed, the kernel takes up to a millisecond for each.
 * @throws Error from the file system, once nothing more is being created.
 */
export async function makeGroupInside(tree: CgroupTree, path: string): Promise<void> {
  // The parent may pass no controllers down yet.
  if (tree.version === 2) return makeGroup(tree, path);
  const made = await Promise.allSettled(rootsOf(tree).map((root) => mkdir(join(root, path))));
  for (const each of made) if (each.status === 'rejected') throw each.reason;
}

/** Where groups with limits are made. */
const rootsOf = (tree: CgroupTree): string[] => [...new Set(Object.values(tree.controllers))];

/** Fails in a group that has processes; writing the limits then shows what is missing. */
function enable(group: string): void {
  try {
    writeFileSync(join(group, 'cgroup.subtree_control'), CONTROLLERS.map((controller) => `+${controller}`).join(' '));
  } catch {
    // See above.
  }
}

/** Processes in the group and below it. 0 stands for one that cannot be seen, so that its group does not look empty. */
export function processesIn(tree: CgroupTree, path: string): number[] {
  try {
    return walk(join(tree.controllers.pids, path)).flatMap(processesOf);
  } catch {
    return [UNSEEN];
  }
}

/** @throws if they cannot be read, because of EMFILE for example. */
function processesOf(group: string): number[] {
  const text = unlessGone(() => readFileSync(join(group, 'cgroup.procs'), 'utf8')) ?? '';
  return text.split('\n').filter(Boolean).map(Number);
}

/** Removes the group from all hierarchies. False if any is left: a process may still be exiting. */
export function removeGroup(tree: CgroupTree, path: string): boolean {
  let gone = true;
  for (const root of tree.hierarchies) {
    try {
      for (const group of walk(join(root, path)).reverse()) if (!removeOne(group)) gone = false;
    } catch {
      gone = false;
    }
  }
  return gone;
}

function removeOne(group: string): boolean {
  try {
    rmdirSync(group);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}

/** Removes the group from each hierarchy in which it has no children and no processes. */
export function removeGroupIfEmpty(tree: CgroupTree, path: string): void {
  for (const root of tree.hierarchies) {
    try {
      rmdirSync(join(root, path));
    } catch {
      // In use, or missing.
    }
  }
}

/** The directories of the group and its descendants, in all hierarchies, deepest first. */
export function directoriesOf(tree: CgroupTree, path: string): string[] {
  return tree.hierarchies.flatMap((root) => (existsSync(join(root, path)) ? walk(join(root, path)).reverse() : []));
}

/**
 * Names of the groups directly below a path, in any hierarchy.
 * @throws if they cannot be read, because of EMFILE for example.
 */
export function groupsBelow(tree: CgroupTree, path: string): string[] {
  return [...new Set(tree.hierarchies.flatMap((root) => children(join(root, path))))];
}

/** The group and all its descendants, parents first. @throws if they cannot be read. */
function walk(group: string): string[] {
  return [group, ...children(group).flatMap((name) => walk(join(group, name)))];
}

function children(group: string): string[] {
  const entries = unlessGone(() => readdirSync(group, { withFileTypes: true })) ?? [];
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

/** Undefined if the group is missing, or is being removed. @throws every other error. */
function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

/** Whether a group could not be read because it is missing, or is being removed. */
export function isGone(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ENODEV';
}
