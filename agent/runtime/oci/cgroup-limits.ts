/** Writes limits to a cgroup's files, and reads them back. */
import { readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Limits } from '../runtime.ts';
import { isGone, type CgroupTree } from './cgroup-tree.ts';

const MEBIBYTE = 1024 * 1024;
/** Period of the CPU limit, in microseconds. */
const CPU_PERIOD_US = 100_000;
/** The kernel's minimum. */
const MIN_QUOTA_US = 1_000;
/** Errors from a kernel that was built or booted without a limit. */
const MISSING: ReadonlySet<string | undefined> = new Set(['ENOENT', 'ENOTSUP']);

/** Synchronous: a few writes that only set numbers in the kernel, on the create path. */
export function writeLimits(tree: CgroupTree, path: string, limits: Limits): void {
  const { memory, cpu, pids } = groupsOf(tree, path);
  const bytes = String(limits.memoryMb * MEBIBYTE);
  const quota = String(Math.max(MIN_QUOTA_US, Math.round(limits.cpus * CPU_PERIOD_US)));
  if (tree.version === 2) {
    writeFileSync(join(memory, 'memory.max'), bytes);
    writeIfThere(join(memory, 'memory.swap.max'), '0');
    writeFileSync(join(cpu, 'cpu.max'), `${quota} ${CPU_PERIOD_US}`);
  } else {
    writeMemoryV1(memory, bytes);
    // v1 counts socket memory separately, and only with this limit; without it, one sandbox could use up the node's
    // memory for all sockets.
    writeIfThere(join(memory, 'memory.kmem.tcp.limit_in_bytes'), bytes);
    writeFileSync(join(cpu, 'cpu.cfs_quota_us'), quota);
  }
  writeFileSync(join(pids, 'pids.max'), String(limits.pidsLimit));
}

/** Whether two limits mean the same for a cgroup. The disk is not limited by cgroups. */
export const sameLimits = (a: Limits, b: Limits): boolean =>
  a.cpus === b.cpus && a.memoryMb === b.memoryMb && a.pidsLimit === b.pidsLimit;

/**
 * The limit including swap must never be below the one without, so the order of writes depends on the current values.
 */
function writeMemoryV1(group: string, bytes: string): void {
  const limit = join(group, 'memory.limit_in_bytes');
  const withSwap = join(group, 'memory.memsw.limit_in_bytes');
  try {
    writeIfThere(withSwap, bytes);
    writeFileSync(limit, bytes);
  } catch {
    writeFileSync(limit, bytes);
    writeIfThere(withSwap, bytes);
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

/**
 * For files that a kernel may lack.
 * @throws if the file exists and cannot be written: the group would have no such limit.
 */
function writeIfThere(file: string, text: string): void {
  try {
    writeFileSync(file, text, { flag: 'r+' });
  } catch (error) {
    if (!MISSING.has((error as NodeJS.ErrnoException).code)) throw error;
  }
}
