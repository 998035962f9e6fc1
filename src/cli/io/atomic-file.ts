/** Writes a local file atomically. */
import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { open, readlink, realpath, rename, rm, stat, utimes } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { makeDirectory } from '../../lib/make-directory.ts';

/** As the kernel. */
const MAX_LINKS = 40;

/**
 * Writes under a temporary name first, so that an interrupted write leaves no partial file under the right one. A link
 * is followed, even to a file that does not exist yet; anything that is not a regular file, such as a device or a pipe,
 * is written to directly and stays what it is. Parent directories are created. The mode is the given one, less the
 * umask, also for an existing file, which keeps its owner where we may change owners.
 * @throws the abort reason, or why it cannot be written or read, in an error that names the target and no other file
 */
export async function writeFileAtomically(
  source: AsyncIterable<Uint8Array>,
  target: string,
  { mode, modifiedAtMs, signal }: { mode: number; modifiedAtMs?: number; signal: AbortSignal },
): Promise<void> {
  const there = await stat(target).catch(() => undefined);
  if (there === undefined && target.endsWith('/')) throw new Error(`${target} is not a directory`);
  if (there !== undefined && !there.isFile()) return await pipeline(source, createWriteStream(target), { signal });
  const path = there === undefined ? await endOfLinks(target) : await realpath(target);
  makeDirectory(dirname(path));
  // A short name fits wherever the right one does.
  const partial = join(dirname(path), `.millibox-${randomUUID()}`);
  // Opened before anything can fail: a name created after its removal would stay.
  try {
    const file = await open(partial, 'wx', mode & 0o777);
    if (there !== undefined) await file.chown(there.uid, there.gid).catch(() => undefined);
    await pipeline(source, file.createWriteStream(), { signal });
    if (modifiedAtMs !== undefined) await utimes(partial, modifiedAtMs / 1000, modifiedAtMs / 1000);
    await rename(partial, path);
  } catch (error) {
    const { message, path: named } = error as NodeJS.ErrnoException;
    if (named !== partial) throw error;
    // The system's own message ends where the call and its paths begin.
    throw new Error(`${target}: ${message.split(', ')[0]}`, { cause: error });
  } finally {
    await rm(partial, { force: true }).catch(() => undefined);
  }
}

/** The name that a file would be created under. */
async function endOfLinks(path: string): Promise<string> {
  let end = path;
  for (let links = 0; links <= MAX_LINKS; links++) {
    const to = await readlink(end).catch(() => undefined);
    if (to === undefined) return end;
    end = resolve(await realpath(dirname(end)), to);
  }
  throw new Error(`${path}: too many symbolic links`);
}
