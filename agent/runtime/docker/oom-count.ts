/** The kernel's count of kills for memory in one container, from the files of its cgroup. */
import { readFile } from 'node:fs/promises';

/** Where the kernel shows both; tests have others. */
const ROOTS = { processes: '/proc', groups: '/sys/fs/cgroup' };

/**
 * @param pid of any process in the container, as the host sees it
 * @returns undefined where the files cannot be read: a process that is gone, an agent that sees no groups but its own
 */
export async function countOomKills(pid: number, roots = ROOTS): Promise<number | undefined> {
  const groups = await read(`${roots.processes}/${pid}/cgroup`);
  for (const file of eventsFiles(groups)) {
    const match = /^oom_kill (\d+)$/m.exec(await read(`${roots.groups}${file}`));
    if (match?.[1] !== undefined) return Number(match[1]);
  }
  return undefined;
}

/**
 * Of a host with v1 for memory, its `memory.oom_control`; otherwise v2's `memory.events`, whose tree is all there is, or
 * stands beside those of v1.
 */
function eventsFiles(groups: string): string[] {
  const v1 = /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(\/.*)$/m.exec(groups)?.[1];
  if (v1 !== undefined) return [`/memory${v1}/memory.oom_control`];
  const v2 = /^0::(\/.*)$/m.exec(groups)?.[1];
  // Above what the agent sees there is no container of ours, and no file that such a path should lead to.
  if (v2 === undefined || v2.startsWith('/..')) return [];
  return [`${v2}/memory.events`, `/unified${v2}/memory.events`];
}

async function read(file: string): Promise<string> {
  return await readFile(file, 'utf8').catch(() => '');
}
