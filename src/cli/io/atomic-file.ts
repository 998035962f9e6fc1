/** Bytes that become a file of this machine. */
import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { open, realpath, rename, rm, stat, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { makeDirectory } from '../../lib/make-directory.ts';

/**
 * Writes under another name first, so that what breaks off leaves no half file under the right one. A link is followed,
 * and what is no file at all, such as a device or a pipe, is written to and stays what it is. Parents are made. The mode
 * is the given one, less the umask, also of a file that was there; that one keeps its owner where we may give files away.
 * @throws the abort reason, or why it cannot be written or read, in words that name the target and no other file
 */
export async function writeFileAtomically(
  source: AsyncIterable<Uint8Array>,
  target: string,
  { mode, modifiedAtMs, signal }: { mode: number; modifiedAtMs?: number; signal: AbortSignal },
): Promise<void> {
  const there = await stat(target).catch(() => undefined);
  if (there === undefined && target.endsWith('/')) throw new Error(`${target} is not a directory`);
  if (there !== undefined && !there.isFile()) return await pipeline(source, createWriteStream(target), { signal });
  const path = there === undefined ? target : await realpath(target);
  makeDirectory(dirname(path));
  // A short name fits wherever the right one does.
  const partial = join(dirname(path), `.millibox-${randomUUID()}`);
  // Opened before anything can break off: a name that is made later than it is removed stays.
  try {
    const file = await open(partial, 'wx', mode & 0o777);
    if (there !== undefined) await file.chown(there.uid, there.gid).catch(() => undefined);
    await pipeline(source, file.createWriteStream(), { signal });
    if (modifiedAtMs !== undefined) await utimes(partial, modifiedAtMs / 1000, modifiedAtMs / 1000);
    await rename(partial, path);
  } catch (error) {
    const { message, path: named } = error as NodeJS.ErrnoException;
    if (named !== partial) throw error;
    // The system's words end where the call and its names begin.
    throw new Error(`${target}: ${message.split(', ')[0]}`, { cause: error });
  } finally {
    await rm(partial, { force: true }).catch(() => undefined);
  }
}
