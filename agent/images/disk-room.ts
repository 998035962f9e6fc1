/** Keeps images from filling the disk that all sandboxes write to, whatever size they claim to have. */
import type { StatsFs } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { Linked } from '../../src/lib/deadline.ts';
import type { Logger } from '../../src/lib/logger.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { ToolError } from '../run-tool.ts';

/** Bytes that stay free for everything else. */
export const MIN_FREE_BYTES = 512 * 1024 * 1024;
const LOOK_EVERY_MS = 500;
/** Files that stay free: names cost next to nothing in an archive, and file systems limit their number. */
const MIN_FREE_FILES = 200_000;
/** On a small file system, this fraction of its files stays free. */
const MIN_FREE_PART = 20;

type Space = Pick<StatsFs, 'bavail' | 'bsize' | 'files' | 'ffree'>;

/** Whether enough bytes and files are free. */
export function hasRoom({ bavail, bsize, files, ffree }: Space, minFreeBytes: number): boolean {
  // A file system without a limit on files reports 0 of 0.
  return bavail * bsize >= minFreeBytes && ffree >= Math.min(MIN_FREE_FILES, Math.floor(files / MIN_FREE_PART));
}

/**
 * Does `work` while `minFreeBytes`, and some files, are free on the file system of `dir`; aborts its signal once they
 * are not. They are free at its end as well.
 * @throws ServiceError `capacity_exhausted`, or what `work` throws.
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
 * Whether an error says that the disk is full, which can happen between two checks or for a limit they do not see.
 * Errors about extended attributes do not count: one that is too large fits on no disk. The disk itself cannot be
 * asked, since a failing tool may remove its files.
 */
const saysFull = (error: unknown): boolean =>
  says(error, /no space left on device|disk quota exceeded|ENOSPC|EDQUOT/i) && !says(error, /xattr.*no space left/i);

function says(error: unknown, words: RegExp): boolean {
  if (!(error instanceof Error)) return false;
  return words.test(error instanceof ToolError ? error.output : error.message) || says(error.cause, words);
}
