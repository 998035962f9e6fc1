/** Keeps images from filling the disk that all sandboxes write to, whatever size they claim to be. */
import type { StatsFs } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { Linked } from '../../src/lib/deadline.ts';
import type { Logger } from '../../src/lib/logger.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { ToolError } from '../run-tool.ts';
import { hasInOrder } from './tool-output.ts';

/** Bytes kept free for everything else. */
export const MIN_FREE_BYTES = 512 * 1024 * 1024;
const LOOK_EVERY_MS = 500;
/**
 * Inodes kept free: an archive can contain any number of files at almost no cost, and file systems limit their number.
 */
const MIN_FREE_FILES = 200_000;
/** On a small file system, one part in this many of its inodes is kept free. */
const MIN_FREE_PART = 20;

type Space = Pick<StatsFs, 'bavail' | 'bsize' | 'files' | 'ffree'>;

/** Whether enough bytes and inodes are free. */
export function hasRoom({ bavail, bsize, files, ffree }: Space, minFreeBytes: number): boolean {
  // A file system without an inode limit reports 0 of 0.
  return bavail * bsize >= minFreeBytes && ffree >= Math.min(MIN_FREE_FILES, Math.floor(files / MIN_FREE_PART));
}

/**
 * Runs `work` while `minFreeBytes` and enough inodes are free on the file system of `dir`; aborts its signal once they
 * are not. Checked again at the end.
 * @throws ServiceError `capacity_exhausted`, or whatever `work` throws.
 */
export async function whileThereIsRoom<T>(
  dir: string,
  minFreeBytes: number,
  { signal, log }: { signal: AbortSignal | undefined; log: Logger },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  using linked = new Linked({ signal });
  const look = async (): Promise<void> => {
    if (hasRoom(await statfs(dir), minFreeBytes)) return;
    linked.abort(noRoom());
  };
  let unseen = false;
  const failed = (error: unknown): void => {
    if (!unseen)
      log.warn({ err: error, dir }, 'free space cannot be read: nothing keeps an image from filling the disk');
    unseen = true;
  };
  const timer = setInterval(() => void look().catch(failed), LOOK_EVERY_MS);
  try {
    await look();
    linked.signal.throwIfAborted();
    const result = await work(linked.signal);
    await look();
    linked.signal.throwIfAborted();
    return result;
  } catch (error) {
    throw saysFull(error) ? noRoom(error) : error;
  } finally {
    clearInterval(timer);
  }
}

const noRoom = (cause?: unknown): ServiceError =>
  new ServiceError('capacity_exhausted', "there is no room for the image on the node's disk", { cause });

/**
 * Whether an error reports a full disk, which can happen between two checks, or because of a limit they cannot see.
 * Errors about extended attributes do not count: an oversized one fits on no disk. Free space cannot be checked
 * afterwards, since a failing tool may have removed its files.
 */
const saysFull = (error: unknown): boolean =>
  says(error, (text) => /no space left on device|disk quota exceeded|ENOSPC|EDQUOT/i.test(text)) &&
  !says(error, (text) => hasInOrder(text, /xattr/i, /no space left/i));

function says(error: unknown, isSaid: (text: string) => boolean): boolean {
  if (!(error instanceof Error)) return false;
  return isSaid(error instanceof ToolError ? error.output : error.message) || says(error.cause, isSaid);
}
