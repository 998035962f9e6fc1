/** Keys that are generated once and kept in files that only their owner can read. */
import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeDirectory } from '../../lib/make-directory.ts';

/** The secret in the file, generated first if there is none. Concurrent callers get the same one. */
export function keepSecret(path: string, prefix: string): string {
  try {
    return read(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  makeDirectory(dirname(path), 0o711);
  const mine = `${path}.${process.pid}`;
  writeFileSync(mine, `${prefix}${randomBytes(32).toString('base64url')}\n`, { mode: 0o600, flag: 'wx' });
  try {
    // Only one of two concurrent callers creates the link, and it is never seen half written.
    linkSync(mine, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    rmSync(mine, { force: true });
  }
  return read(path);
}

function read(path: string): string {
  const secret = readFileSync(path, 'utf8').trim();
  if (secret.length < 16) throw new Error(`${path} holds no usable secret: remove it to have a new one generated`);
  return secret;
}
