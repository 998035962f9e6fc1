/** Reads a container's OOM kills from its cgroup. */
import { readFile } from 'node:fs/promises';

const GONE: ReadonlySet<string | undefined> = new Set(['ENOENT', 'ENODEV', 'ESRCH']);
/** Overridden in tests. */
const ROOTS = { processes: '/proc', groups: '/sys/fs/cgroup' };

/**
 * @param pid of any process in the container, as the host sees it
 * @returns undefined if there is no count: the process is gone, or the agent sees only its own cgroups
 * @throws if it cannot be read, because of EMFILE for example
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
 * With v1 for memory: `memory.oom_control`. Otherwise v2's `memory.events`, at the root or beside the v1 hierarchies.
 */
function eventsFiles(groups: string): string[] {
  const v1 = /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(\/.*)$/m.exec(groups)?.[1];
  if (v1 !== undefined) return [`/memory${v1}/memory.oom_control`];
  const v2 = /^0::(\/.*)$/m.exec(groups)?.[1];
  // A group above the agent's view is not one of our containers.
  if (v2 === undefined || v2.startsWith('/..')) return [];
  return [`${v2}/memory.events`, `/unified${v2}/memory.events`];
}

/** Empty if the file or its cgroup does not exist. */
async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (GONE.has((error as NodeJS.ErrnoException).code)) return '';
    throw error;
  }
}
