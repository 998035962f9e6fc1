/** A sandbox's processes as seen by the host, for faults that only the host can cause. */
import { readdirSync, readFileSync } from 'node:fs';
import type { Sandbox } from '../../src/sdk/index.ts';
import { chosenRuntime } from './config.ts';
import { until } from './until.ts';

/** Host pid of the sandbox's boxinit. Starts a sleep to find it by. */
export async function boxinitPid(sandbox: Sandbox): Promise<number> {
  const seconds = String(1_000_000_000 + Math.floor(Math.random() * 1_000_000_000));
  const exec = sandbox.exec(['sleep', seconds]);
  exec.result.catch(() => undefined);
  await exec.started;
  let pid: number | undefined;
  await until(() => (pid = find(`sleep\0${seconds}\0`)) !== undefined, 30_000, 'the process on the host');
  const parent = Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  exec.kill();
  if (!readFileSync(`/proc/${parent}/cmdline`, 'utf8').includes('boxinit')) {
    throw new Error(`process ${parent} is not boxinit`);
  }
  return parent;
}

/**
 * Returns a function that kills the sandbox's boxinit. Inside gVisor, root can do that; its processes are not the
 * host's.
 */
export async function boxinitKiller(sandbox: Sandbox): Promise<() => void> {
  if (chosenRuntime() === 'gvisor') return () => void sandbox.exec(['kill', '-9', '1']).result.catch(() => undefined);
  const pid = await boxinitPid(sandbox);
  return () => void process.kill(pid, 'SIGKILL');
}

function find(cmdline: string): number | undefined {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (readFileSync(`/proc/${name}/cmdline`, 'utf8') === cmdline) return Number(name);
    } catch {
      // Gone meanwhile.
    }
  }
  return undefined;
}

/** Open descriptors of a process. */
export const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

/** Resident memory in MB. */
export function residentMb(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}
