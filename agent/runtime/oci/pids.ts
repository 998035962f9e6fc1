/** Process identity: a pid with its start time, because the kernel reuses pids. */
import { readFileSync } from 'node:fs';

export interface ProcessId {
  pid: number;
  /** In clock ticks since boot. */
  startTime: number;
}

/** Undefined if there is no such process, or only a zombie. */
export function identify(pid: number): ProcessId | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in parentheses may contain anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    return { pid, startTime: Number(fields[19]) };
  } catch {
    return undefined;
  }
}

export function isAlive(process: ProcessId): boolean {
  return identify(process.pid)?.startTime === process.startTime;
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

/** No effect if it is gone. */
export function killProcess(target: ProcessId): void {
  if (isAlive(target)) killPid(target.pid);
}

export function killPid(pid: number): void {
  if (pid <= 1) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone.
  }
}
