/** One file of this machine becomes one of a sandbox. */
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

/** What the kernel makes up as it is read, such as a file of /proc, has another size than it says. */
const MAX_READ_AHEAD_BYTES = 1024 * 1024;
const MAX_LINKS = 40;

/**
 * As a tar, which keeps the time. A link is followed, as `write` would, and a file that is there keeps its owner. What
 * such a tar would replace, or could not name, is left to `write` to refuse.
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
  const bytes = ahead === undefined ? createReadStream(from) : [ahead];
  const { mode, mtimeMs: modifiedAtMs } = here;
  const place = await placeOf(sandbox, to);
  if (place === undefined) {
    await sandbox.files.write(to, ahead ?? createReadStream(from), { ...options, mode: mode & 0o7777 });
    return;
  }
  const { path, there } = place;
  const owner = options.owner ?? (there && `${there.uid}:${there.gid}`);
  const tar = packFile({ name: posix.basename(path), mode, modifiedAtMs, size, bytes });
  const { signal } = options;
  await sandbox.files.uploadTar(posix.dirname(path), tar, owner === undefined ? { signal } : { signal, owner });
}

export async function statIfThere(sandbox: Sandbox, path: string, follow = true): Promise<FileStat | undefined> {
  try {
    return await sandbox.files.stat(path, { follow });
  } catch (error) {
    // So is what a link leads to that leads nowhere: it will be made there.
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** Where the bytes will be in the end, and the file that is there; undefined: no file can be. */
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
