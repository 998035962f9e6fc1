/** The kernel's count of kills for memory in one container, from the files of its cgroup. */
import { readFile } from 'node:fs/promises';

/**
 * @param pid of any process in the container, as the host sees it
 * @returns undefined where the files cannot be read
 */
export async function countOomKills(pid: number): Promise<number | undefined> {
  try {
    const file = eventsFile(await readFile(`/proc/${pid}/cgroup`, 'utf8'));
    if (file === undefined) return undefined;
    const match = /^oom_kill (\d+)$/m.exec(await readFile(file, 'utf8'));
    return match?.[1] === undefined ? undefined : Number(match[1]);
  } catch {
    return undefined;
  }
}

/** Of a host with v1 for memory, its `memory.oom_control`; otherwise v2's `memory.events`. */
function eventsFile(cgroups: string): string | undefined {
  const v1 = /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(\/.*)$/m.exec(cgroups)?.[1];
  if (v1 !== undefined) return `/sys/fs/cgroup/memory${v1}/memory.oom_control`;
  const v2 = /^0::(\/.*)$/m.exec(cgroups)?.[1];
  return v2 === undefined ? undefined : `/sys/fs/cgroup${v2}/memory.events`;
}
