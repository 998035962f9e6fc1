/** Finds the host's network namespace, for an agent in a container that shares the host's PID namespace. */
import { readFileSync, readlinkSync } from 'node:fs';

const FIRST = 1;
/** The parent of all kernel threads. */
const KERNEL = { pid: 2, name: 'kthreadd' };

/** A process in that namespace that lives as long as the machine: PID 1, or, if a hardened host hides it, kthreadd. */
export function hostProcess(): number {
  if (isOpen(FIRST)) return FIRST;
  return nameOf(KERNEL.pid) === KERNEL.name && isOpen(KERNEL.pid) ? KERNEL.pid : FIRST;
}

function isOpen(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`) !== '';
  } catch {
    // No access, or no such process.
    return false;
  }
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    // No such process.
    return '';
  }
}
