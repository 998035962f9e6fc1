/** The host's network namespace, for an agent in a container that is in the host's namespace of processes. */
import { readFileSync, readlinkSync } from 'node:fs';

const FIRST = 1;
/** Of the kernel's own: all of its threads descend from it. */
const KERNEL = { pid: 2, name: 'kthreadd' };

/**
 * A process in that namespace which lives as long as the machine: the first one, or, where it lets nobody look at it (some
 * hosts harden it), the kernel's.
 */
export function hostProcess(): number {
  if (isOpen(FIRST)) return FIRST;
  return nameOf(KERNEL.pid) === KERNEL.name && isOpen(KERNEL.pid) ? KERNEL.pid : FIRST;
}

function isOpen(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`) !== '';
  } catch {
    return false;
  }
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}
