/** Writes limits to a cgroup's files, and reads them back. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Limits } from '../runtime.ts';
import { isGone, type CgroupTree } from './cgroup-tree.ts';

const MEBIBYTE = 1024 * 1024;
/** Period of the CPU limit, in microseconds. */
const CPU_PERIOD_US = 100_000;
/** The kernel's minimum. */
const MIN_QUOTA_US = 1_000;
/** Errors from a kernel that was built or booted without a limit. */
const MISSING: ReadonlySet<string | undefined> = new Set(['ENOENT', 'ENOTSUP']);

/**
 * Synchronous: a few writes that only set numbers in the kernel, on the create path.
 * @param set the limits that the group has, if known: only what differs from them is written
 */
export function writeLimits(tree: CgroupTree, path: string, limits: Limits, set?: Limits): void {
  const { memory, cpu, pids } = groupsOf(tree, path);
  if (limits.memoryMb !== set?.memoryMb) writeMemory(tree, memory, String(limits.memoryMb * MEBIBYTE));
  if (limits.cpus !== set?.cpus) {
    const quota = String(Math.max(MIN_QUOTA_US, Math.round(limits.cpus * CPU_PERIOD_US)));
    if (tree.version === 2) writeFileSync(join(cpu, 'cpu.max'), `${quota} ${CPU_PERIOD_US}`);
    else writeFileSync(join(cpu, 'cpu.cfs_quota_us'), quota);
  }
  if (limits.pidsLimit !== set?.pidsLimit) writeFileSync(join(pids, 'pids.max'), String(limits.pidsLimit));
}

function writeMemory(tree: CgroupTree, group: string, bytes: string): void {
  if (tree.version === 2) {
    writeFileSync(join(group, 'memory.max'), bytes);
    writeIfThere(tree, join(group, 'memory.swap.max'), '0');
    return;
  }
  writeMemoryV1(tree, group, bytes);
  // v1 counts socket memory separately, and only with this limit; without it, one sandbox could use up the node's
  // memory for all sockets.
  writeIfThere(tree, join(group, 'memory.kmem.tcp.limit_in_bytes'), bytes);
}

/**
 * The limit including swap must never be below the one without, so the order of writes depends on the current values.
 */
function writeMemoryV1(tree: CgroupTree, group: string, bytes: string): void {
  const limit = join(group, 'memory.limit_in_bytes');
  const withSwap = join(group, 'memory.memsw.limit_in_bytes');
  try {
    writeIfThere(tree, withSwap, bytes);
    writeFileSync(limit, bytes);
  } catch {
    writeFileSync(limit, bytes);
    writeIfThere(tree, withSwap, bytes);
  }
}

/** The group's limits as the kernel reports them. */
export function readLimits(tree: CgroupTree, path: string): Omit<Limits, 'diskMb'> {
  const { memory, cpu, pids } = groupsOf(tree, path);
  const read = (group: string, file: string): string => readFileSync(join(group, file), 'utf8').trim();
  const quotaUs =
    tree.version === 2 ? Number(read(cpu, 'cpu.max').split(' ')[0]) : Number(read(cpu, 'cpu.cfs_quota_us'));
  const bytes = Number(read(memory, tree.version === 2 ? 'memory.max' : 'memory.limit_in_bytes'));
  return { cpus: quotaUs / CPU_PERIOD_US, memoryMb: bytes / MEBIBYTE, pidsLimit: Number(read(pids, 'pids.max')) };
}

/**
 * OOM kills in the group; 0 if there is no such group.
 * @throws if they cannot be read, because of EMFILE for example.
 */
export async function readOomKills(tree: CgroupTree, path: string): Promise<number> {
  const file = tree.version === 2 ? 'memory.events' : 'memory.oom_control';
  try {
    const text = await readFile(join(tree.controllers.memory, path, file), 'utf8');
    return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
  } catch (error) {
    if (isGone(error)) return 0;
    throw error;
  }
}

function groupsOf(tree: CgroupTree, path: string): Record<'memory' | 'cpu' | 'pids', string> {
  const { memory, cpu, pids } = tree.controllers;
  return { memory: join(memory, path), cpu: join(cpu, path), pids: join(pids, path) };
}

/** Names of files that the kernel lacks: a failed write for each group would cost more than those that succeed. */
const absentFiles = new WeakMap<CgroupTree, Set<string>>();

/**
 * For files that a kernel may lack.
 * @throws if the file exists and cannot be written: the group would have no such limit.
 */
function writeIfThere(tree: CgroupTree, file: string, text: string): void {
  let names = absentFiles.get(tree);
  if (names === undefined) absentFiles.set(tree, (names = new Set()));
  if (names.has(basename(file))) return;
  try {
    writeFileSync(file, text, { flag: 'r+' });
  } catch (error) {
    if (!MISSING.has((error as NodeJS.ErrnoException).code)) throw error;
    // Unless it is the group that is missing.
    if (existsSync(dirname(file))) names.add(basename(file));
  }
}
