/** Process identity: a pid with its start time, because the kernel reuses pids. */
import { readFileSync } from 'node:fs';

export interface ProcessId {
  pid: number;
  /** In clock ticks since boot. */
  startTime: number;
}

/**
 * Undefined if there is no such process, or only a zombie.
 * @throws if it cannot be read, because of EMFILE for example.
 */
export function identify(pid: number): ProcessId | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in parentheses may contain anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    return { pid, startTime: Number(fields[19]) };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}

/** If the start time cannot be read, a process with this pid counts: nothing alive may pass for dead. */
export function isAlive(process: ProcessId): boolean {
  try {
    return isStill(process);
  } catch {
    return seemsAlive(process);
  }
}

/** Cheap, but wrong if the pid has been reused. */
export function seemsAlive({ pid }: ProcessId): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** No effect if it is gone. @throws if that cannot be determined: another process may have its pid. */
export function killProcess(target: ProcessId): void {
  if (isStill(target)) killPid(target.pid);
}

const isStill = ({ pid, startTime }: ProcessId): boolean => identify(pid)?.startTime === startTime;

export function killPid(pid: number): void {
  if (pid <= 1) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone.
  }
}
