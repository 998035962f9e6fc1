/** Copies one local file into a sandbox. */
import { createReadStream, type Stats } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { posix } from 'node:path';
import { isAbsent } from '../../sdk/errors.ts';
import type { FileStat, Sandbox } from '../../sdk/index.ts';
import { packFile } from './file-tar.ts';

export interface UploadOptions {
  owner?: string;
  signal: AbortSignal;
}

/** Files up to this size are read to learn their size: stat does not know that of a file in /proc. */
const MAX_READ_AHEAD_BYTES = 1024 * 1024;
const MAX_LINKS = 40;

/**
 * Sends a tar, which carries the modification time. As with `write`, links are followed and an existing file keeps its
 * owner. Where a tar would replace, say, a device, `write` is called instead, which refuses.
 */
export async function uploadFile(
  sandbox: Sandbox,
  from: string,
  here: Stats,
  to: string,
  options: UploadOptions,
): Promise<void> {
  const ahead = here.size <= MAX_READ_AHEAD_BYTES ? await readFile(from) : undefined;
  const size = ahead?.length ?? here.size;
  const { mode, mtimeMs: modifiedAtMs } = here;
  const place = await placeOf(sandbox, to);
  if (place === undefined) {
    await sandbox.files.write(to, ahead ?? contentOf(from, size), { ...options, mode: mode & 0o7777 });
    return;
  }
  const { path, there } = place;
  const owner = options.owner ?? (there && `${there.uid}:${there.gid}`);
  const bytes = ahead === undefined ? contentOf(from, size) : [ahead];
  const tar = packFile({ name: posix.basename(path), mode, modifiedAtMs, size, bytes });
  const { signal } = options;
  await sandbox.files.uploadTar(posix.dirname(path), tar, owner === undefined ? { signal } : { signal, owner });
}

/**
 * The first bytes of a file, which may grow. It is opened when they are requested, so that the caller gets a failure.
 */
async function* contentOf(path: string, size: number): AsyncGenerator<Buffer> {
  yield* createReadStream(path, { end: size - 1 }) as AsyncIterable<Buffer>;
}

export async function statIfThere(sandbox: Sandbox, path: string, follow = true): Promise<FileStat | undefined> {
  try {
    return await sandbox.files.stat(path, { follow });
  } catch (error) {
    // The same for a dangling link: its target will be created.
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** The path with links resolved, and the file that exists there. Undefined if no regular file can be there. */
async function placeOf(sandbox: Sandbox, to: string): Promise<{ path: string; there?: FileStat } | undefined> {
  let path = to;
  for (let links = 0; links <= MAX_LINKS; links++) {
    if (/(^|\/)\.{0,2}$/.test(path)) return undefined;
    const there = await statIfThere(sandbox, path, false);
    if (there === undefined) return { path };
    if (there.kind === 'file') return { path, there };
    if (there.kind !== 'symlink') return undefined;
    const target = there.target ?? '';
    path = target.startsWith('/') ? target : `${posix.dirname(path)}/${target}`;
  }
  return undefined;
}
