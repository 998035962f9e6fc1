/**
 * Failures of the system that may pass: no descriptor is free, a disk does not answer. What an earlier agent left and
 * cannot be read for such a reason may be alive, so it is tried again, and then left to the next start.
 */
import { sleep } from '../../src/lib/deadline.ts';
import { isMissing } from '../../src/lib/whole-file.ts';

const PAUSES_MS = [50, 450, 2_000];

/** Whether a call to the system failed, other than since what it is about is gone. */
export function mayPass(error: unknown): boolean {
  if (!(error instanceof Error) || isMissing(error)) return false;
  const { syscall, code }: NodeJS.ErrnoException = error;
  // Node.js says EACCES of a socket in a directory that is gone.
  return syscall !== undefined && !(syscall === 'listen' && code === 'EACCES');
}

/** Repeats what fails for a reason that may pass, for a few seconds. @throws what the last try threw. */
export async function insist<T>(work: () => T | Promise<T>, signal?: AbortSignal, passes = mayPass): Promise<T> {
  for (const pauseMs of PAUSES_MS) {
    try {
      return await work();
    } catch (error) {
      if (!passes(error)) throw error;
    }
    await sleep(pauseMs, signal);
  }
  return await work();
}
