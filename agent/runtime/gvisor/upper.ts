/**
 * Adds what a container needs besides its image (mount points, /etc files) to its overlay upper dir, before anything
 * runs. Follows paths of the image through real directories only: an image's `/etc` may be a symbolic link to the
 * host's.
 */
import { type Stats } from 'node:fs';
import { chmod, chown, lstat, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../../../src/lib/logger.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { INSIDE, MOUNT_POINTS } from './spec.ts';

interface UpperContents {
  workdir: string;
  files: readonly { path: string; text: string }[];
  log: Logger;
}

/** @throws ServiceError `image_invalid` if the image has something else where a directory must be. */
export async function prepareUpper(
  upper: string,
  imageRoot: string,
  { workdir, files, log }: UpperContents,
): Promise<void> {
  for (const path of MOUNT_POINTS) await makeIn(upper, imageRoot, path);
  await makeIn(upper, imageRoot, '/tmp', 0o1777);
  await writeIn(upper, imageRoot, INSIDE.boxinit, '');
  for (const { path, text } of files) await writeIn(upper, imageRoot, path, text);
  // Fails if the path leads through a symbolic link of the image; the directory exists in that case.
  await makeIn(upper, imageRoot, workdir).catch((error: unknown) => {
    log.debug({ err: error, workdir }, 'the working directory of the image was not created');
  });
}

/**
 * Creates the directory and its parents in `upper`, with the image's modes and owners; `mode` is for directories the
 * image lacks.
 */
async function makeIn(upper: string, imageRoot: string, path: string, mode = 0o755): Promise<void> {
  const parts = path.split('/').filter((part) => part !== '');
  for (let depth = 1; depth <= parts.length; depth += 1) {
    const at = join(...parts.slice(0, depth));
    const there = await look(join(imageRoot, at));
    if (there !== undefined && !there.isDirectory()) {
      throw new ServiceError('image_invalid', `/${at} of the image is not a directory`);
    }
    const made = join(upper, at);
    if ((await look(made)) !== undefined) continue;
    await mkdir(made);
    // A directory in the upper dir hides the owner and mode of the one in the lower.
    await chown(made, there?.uid ?? 0, there?.gid ?? 0);
    await chmod(made, (there?.mode ?? mode) & 0o7777);
  }
}

/** Writes the file, unless the image has something other than a file there. */
async function writeIn(upper: string, imageRoot: string, path: string, text: string): Promise<void> {
  try {
    await makeIn(upper, imageRoot, join(path, '..'));
  } catch (error) {
    if (error instanceof ServiceError) return;
    throw error;
  }
  await writeFile(join(upper, path), text, { mode: 0o644, flag: 'wx' });
}

async function look(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}
