/** Kills a container's processes and removes its cgroups. */
import { backoffMs } from '../../../src/lib/backoff.ts';
import { sleep } from '../../../src/lib/deadline.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { processesIn, removeGroup, type CgroupTree } from './cgroup-tree.ts';
import { isAlive, killPid, killProcess, type ProcessId } from './pids.ts';

const LIMIT_MS = 20_000;
const POLL = { firstMs: 1, maxMs: 50 };

/**
 * Kills and waits. When PID 1 of a namespace dies, the kernel kills the others, and it is gone only once they are.
 * Processes in the group but not in the namespace are killed individually.
 * @throws ServiceError `deadline_exceeded` if something does not die.
 */
export async function endProcesses(tree: CgroupTree, cgroup: string, first: ProcessId | undefined): Promise<void> {
  if (first !== undefined) killProcess(first);
  await poll(() => {
    if (first !== undefined && isAlive(first)) return false;
    const left = processesIn(tree, cgroup);
    for (const pid of left) killPid(pid);
    return left.length === 0;
  }, 'the end of a container');
}

/** @throws ServiceError `deadline_exceeded`. */
export async function endProcess(process: ProcessId): Promise<void> {
  killProcess(process);
  await poll(() => !isAlive(process), 'the end of a process');
}

/** @throws ServiceError `deadline_exceeded` if the kernel does not release it. */
export async function endGroup(tree: CgroupTree, cgroup: string): Promise<void> {
  await poll(() => removeGroup(tree, cgroup), 'the removal of a control group');
}

async function poll(done: () => boolean, what: string): Promise<void> {
  const until = performance.now() + LIMIT_MS;
  for (let looks = 1; !done(); looks++) {
    if (performance.now() > until) throw new ServiceError('deadline_exceeded', `${what} took too long`);
    await sleep(backoffMs(POLL, looks));
  }
}
