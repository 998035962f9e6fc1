/** Trees of this machine as tar streams, by the machine's own `tar`. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { Readable as ReadableStream } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/** Ids of users are those of this machine, and mean others in a sandbox: there, all of it is root's. */
const ROOTS = ['--owner=0', '--group=0', '--numeric-owner'];

/** Gives what lies below the directory to `use`, as it is read. Fails when either fails. */
export async function packTree(directory: string, use: (tar: Readable) => Promise<unknown>): Promise<void> {
  const child = spawn('tar', ['--format=pax', ...ROOTS, '-C', directory, '-cf', '-', '.'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = success(child);
  ended.catch(() => undefined);
  try {
    await use(child.stdout);
  } finally {
    child.kill();
  }
  await ended;
}

/**
 * Unpacks below the directory. What a sandbox sends is not trusted: owners are not taken over, nor modes by which a
 * program would run as whoever unpacks it; and GNU tar strips leading slashes and refuses names that lead out, through
 * links as well.
 */
export async function unpackTree(tar: AsyncIterable<Uint8Array>, directory: string): Promise<void> {
  const child = spawn('tar', ['--no-same-owner', '--no-same-permissions', '-C', directory, '-xf', '-'], {
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  const ended = success(child);
  ended.catch(() => undefined);
  try {
    await pipeline(ReadableStream.from(tar), child.stdin);
  } catch (error) {
    child.kill();
    // A tar that failed says more than the pipe that it broke.
    await ended;
    throw error;
  }
  await ended;
}

async function success(child: ChildProcess): Promise<void> {
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  if (code !== 0) throw new Error(`tar ended with ${signal ?? code}`);
}
