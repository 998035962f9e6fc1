/**
 * Keeps a second agent out of a data directory, where it would take over the first one's sandbox sockets and remove
 * containers it does not know. The kernel releases the lock however the process ends.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { withDeadline } from '../src/lib/deadline.ts';
import type { Logger } from '../src/lib/logger.ts';
import { makeDirectory } from '../src/lib/make-directory.ts';
import { ServiceError } from '../src/protocol/errors.ts';

const FILE = 'lock';
/** How long to wait for the agent being replaced. */
const PATIENCE_MS = 10_000;
/** Allowance for flock(1) itself, beyond the wait. */
const FLOCK_MS = 10_000;
/** flock(1)'s exit status when another process holds the lock. Any other failure means that locks do not work here. */
const TAKEN = 1;

interface DataDirLock extends Disposable {
  /** False if the machine has no flock(1), or the file system does not support locks. */
  held: boolean;
}

/**
 * Waits up to `patienceMs` for other agents to release the directory.
 * @throws ServiceError `not_supported` if one still holds it.
 */
export async function lockDataDir(
  dataDir: string,
  { log, patienceMs = PATIENCE_MS }: { log: Logger; patienceMs?: number },
): Promise<DataDirLock> {
  makeDirectory(dataDir, 0o711);
  // The lock belongs to the open file description, shared with the flock(1) child, so it outlives that child.
  const fd = openSync(join(dataDir, FILE), 'a', 0o600);
  const release = (): void => closeSync(fd);
  try {
    let status = await flock(fd, 0);
    if (status === TAKEN) {
      log.warn({ dataDir }, 'another agent has locked this data directory: waiting');
      status = await flock(fd, patienceMs);
    }
    if (status === TAKEN) {
      throw new ServiceError(
        'not_supported',
        `another agent runs on ${dataDir}: stop it, or give this one a directory of its own (MILLIBOX_DATA_DIR)`,
      );
    }
    return { held: status === 0, [Symbol.dispose]: release };
  } catch (error) {
    release();
    throw error;
  }
}

/** The exit status, or null if flock cannot be run. */
async function flock(fd: number, patienceMs: number): Promise<number | null> {
  const child = spawn('flock', ['-w', String(patienceMs / 1_000), '3'], { stdio: ['ignore', 'ignore', 'ignore', fd] });
  try {
    const limits = { deadlineMs: patienceMs + FLOCK_MS, what: 'the lock of the data directory' };
    const [status] = (await withDeadline(limits, () => once(child, 'close'))) as [number | null];
    return status;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall?.startsWith('spawn') === true) return null;
    throw error;
  } finally {
    child.kill('SIGKILL');
  }
}
