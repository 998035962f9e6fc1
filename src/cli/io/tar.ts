/** Local trees as tar streams, made by the machine's own `tar`. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { BrokenPipe, write } from './pump.ts';

/** User ids are local, and mean other users in a sandbox: there, root owns everything. */
const ROOTS = ['--owner=0', '--group=0', '--numeric-owner'];

/** Passes the tree below the directory to `use`, as it is read. Fails when either fails. */
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
 * Unpacks below the directory. What a sandbox sends is not trusted: owners are dropped, as are mode bits that would
 * make a program run as whoever unpacks it; GNU tar strips leading slashes and refuses names that lead outside,
 * including through links.
 */
export async function unpackTree(tar: AsyncIterable<Uint8Array>, directory: string): Promise<void> {
  const child = spawn('tar', ['--no-same-owner', '--no-same-permissions', '-C', directory, '-xf', '-'], {
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  const ended = success(child);
  ended.catch(() => undefined);
  child.stdin.on('error', () => undefined);
  try {
    for await (const bytes of tar) await write(child.stdin, bytes);
    child.stdin.end();
  } catch (error) {
    child.kill();
    // The error of a tar that failed says more than that of the pipe it broke; one that we ended has nothing to say.
    await (error instanceof BrokenPipe ? ended : ended.catch(() => undefined));
    throw error;
  }
  await ended;
}

async function success(child: ChildProcess): Promise<void> {
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  if (code !== 0) throw new Error(`tar ended with ${signal ?? code}`);
}
