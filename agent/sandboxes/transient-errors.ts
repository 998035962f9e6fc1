/**
 * Transient system errors: no descriptor is free, a disk does not respond. Something an earlier agent left that is
 * unreadable for such a reason may be alive, so reading it is retried, and then left to the next start.
 */
import { sleep } from '../../src/lib/deadline.ts';
import { isMissing } from '../../src/lib/whole-file.ts';

const PAUSES_MS = [50, 450, 2_000];

/** Whether a system call failed for a reason other than that its target is gone. */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof Error) || isMissing(error)) return false;
  const { syscall, code }: NodeJS.ErrnoException = error;
  // Node reports EACCES for a socket in a directory that is gone.
  return syscall !== undefined && !(syscall === 'listen' && code === 'EACCES');
}

/** Retries transient errors for a few seconds. @throws the error of the last attempt. */
export async function retryTransient<T>(
  work: () => T | Promise<T>,
  signal?: AbortSignal,
  transient = isTransient,
): Promise<T> {
  for (const pauseMs of PAUSES_MS) {
    try {
      return await work();
    } catch (error) {
      if (!transient(error)) throw error;
    }
    await sleep(pauseMs, signal);
  }
  return await work();
}
