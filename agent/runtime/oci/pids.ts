/** Processes told apart for good: a number alone is given to another process after a while. */
import { readFileSync } from 'node:fs';

export interface ProcessId {
  pid: number;
  /** When it began, in clock ticks since the machine started. */
  startTime: number;
}

/** Undefined when there is none, or only its remains that nobody has collected. */
export function identify(pid: number): ProcessId | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in the parentheses may hold anything.
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

/** Cheap, and wrong when the number has gone to another process. */
export function seemsAlive({ pid }: ProcessId): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Nothing happens when it is gone. */
export function killProcess(target: ProcessId): void {
  if (isAlive(target)) killPid(target.pid);
}

export function killPid(pid: number): void {
  if (pid <= 1) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Gone already.
  }
}
