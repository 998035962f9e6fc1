/**
 * Keeps a second agent out of a data directory: it would take over the sockets of the first one's sandboxes and remove
 * containers it does not know. The kernel releases the lock when the process ends, however it ends.
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
/** How long to wait for an agent that is being replaced. */
const PATIENCE_MS = 10_000;
/** Beyond that, for flock(1) itself. */
const FLOCK_MS = 10_000;
/** flock(1)'s status when another process holds the lock. Any other failure means that locks do not work here. */
const TAKEN = 1;

interface DataDirLock extends Disposable {
  /** False if this machine has no flock(1), or its file system no locks. */
  held: boolean;
}

/**
 * Waits up to `patienceMs` until no other agent uses this directory.
 * @throws ServiceError `not_supported` if another one still does.
 */
export async function lockDataDir(
  dataDir: string,
  { log, patienceMs = PATIENCE_MS }: { log: Logger; patienceMs?: number },
): Promise<DataDirLock> {
  makeDirectory(dataDir, 0o711);
  // The lock belongs to the open file, which flock(1) shares with this process: it outlives flock.
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

/** The exit status; null if flock cannot be run. */
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
