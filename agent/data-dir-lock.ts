/**
 * One agent for each data directory. A second one would take the sockets of the first one's sandboxes and clear away what it
 * knows nothing of. The kernel holds the lock, and lets go when the process ends, however it ends.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { withDeadline } from '../src/lib/deadline.ts';
import type { Logger } from '../src/lib/logger.ts';
import { ServiceError } from '../src/protocol/errors.ts';

const FILE = 'lock';
/** For an agent that is about to end, as where a new one takes its place. */
const PATIENCE_MS = 10_000;
/** For flock(1) itself. */
const FLOCK_MS = 10_000;
/** Of flock(1): somebody else has it. Whatever else it says, no lock can be had here. */
const TAKEN = 1;

interface DataDirLock extends Disposable {
  /** False where this machine has no flock(1), or its file system no locks. */
  held: boolean;
}

/**
 * Waits until no other agent has this directory, no longer than `patienceMs`.
 * @throws ServiceError `not_supported` where another one keeps it.
 */
export async function lockDataDir(
  dataDir: string,
  { log, patienceMs = PATIENCE_MS }: { log: Logger; patienceMs?: number },
): Promise<DataDirLock> {
  mkdirSync(dataDir, { recursive: true, mode: 0o711 });
  // The lock belongs to the open file, which flock(1) shares with us: it stays when flock has ended.
  const fd = openSync(join(dataDir, FILE), 'a', 0o600);
  const release = (): void => closeSync(fd);
  try {
    let status = await flock(fd, 0);
    if (status === TAKEN) {
      log.warn({ dataDir }, 'another agent has this data directory: waiting for its end');
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

/** The exit status; null where flock cannot be run. */
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
