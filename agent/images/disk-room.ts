/** An image of any size, or one that claims to be small, does not fill the disk that all sandboxes write to. */
import type { StatsFs } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { Linked } from '../../src/lib/deadline.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { ToolError } from './run-tool.ts';

/** What is left of the disk for everything else. */
export const MIN_FREE_BYTES = 512 * 1024 * 1024;
const LOOK_EVERY_MS = 500;
/** Names cost next to nothing in an archive, and a file system may have only so many files. */
const MIN_FREE_FILES = 200_000;
/** Of a small file system: one in so many. */
const MIN_FREE_PART = 20;

type Space = Pick<StatsFs, 'bavail' | 'bsize' | 'files' | 'ffree'>;

/** Whether others find room beside what is there, for bytes and for files. */
export function hasRoom({ bavail, bsize, files, ffree }: Space, minFreeBytes: number): boolean {
  // Without a bound of files there are 0 of 0.
  return bavail * bsize >= minFreeBytes && ffree >= Math.min(MIN_FREE_FILES, Math.floor(files / MIN_FREE_PART));
}

/**
 * Does `work` while `minFreeBytes`, and some files, are left on the file system of `dir`, and aborts its signal once they
 * are not. They are left at its end as well.
 * @throws ServiceError `capacity_exhausted`, or what `work` throws.
 */
export async function whileThereIsRoom<T>(
  dir: string,
  minFreeBytes: number,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  using linked = new Linked({ signal });
  const look = async (): Promise<void> => {
    if (hasRoom(await statfs(dir), minFreeBytes)) return;
    linked.abort(noRoom());
  };
  const timer = setInterval(() => void look().catch(() => undefined), LOOK_EVERY_MS);
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
 * Between two looks, or for a bound that they do not see. An attribute of a file is not meant: one larger than the file
 * system has fits on no disk. The room itself cannot be asked, since what fails may clear its files away.
 */
const saysFull = (error: unknown): boolean =>
  says(error, /no space left on device|disk quota exceeded|ENOSPC|EDQUOT/i) && !says(error, /xattr.*no space left/i);

function says(error: unknown, words: RegExp): boolean {
  if (!(error instanceof Error)) return false;
  return words.test(error instanceof ToolError ? error.output : error.message) || says(error.cause, words);
}
