/** Bytes between the terminal or pipes of this process and a command in a sandbox. */
import { once } from 'node:events';
import type { Writable } from 'node:stream';

/** The reader of stdout or stderr is gone. */
export class BrokenPipe extends Error {
  override readonly name = 'BrokenPipe';
}

/** Writes and waits until the reader has room, so that a slow reader slows the command and fills no memory. */
export async function write(to: Writable, bytes: Uint8Array): Promise<void> {
  const failure = to.errored ?? failures.get(to);
  if (failure) throw isBrokenPipe(failure) ? new BrokenPipe() : failure;
  if (to.destroyed) throw new BrokenPipe();
  if (to.write(bytes)) return;
  // Also removes the listener of the event that did not fire.
  const over = new AbortController();
  try {
    await Promise.race([once(to, 'drain', over), once(to, 'close', over).then(() => Promise.reject(new BrokenPipe()))]);
  } catch (error) {
    throw isBrokenPipe(error) ? new BrokenPipe() : error;
  } finally {
    over.abort();
  }
}

/**
 * Resolves once everything written has been taken, or its reader has gone: exiting earlier would lose it.
 * @throws why stdout did not take it
 */
export async function flushed(): Promise<void> {
  const taken = (to: Writable): Promise<void> => new Promise((resolve) => to.write('', () => resolve()));
  await Promise.all([process.stdout, process.stderr].map(taken));
  const failure = failures.get(process.stdout);
  if (failure !== undefined && !isBrokenPipe(failure)) throw failure;
}

const isBrokenPipe = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'EPIPE';

/** Why a stream of ours took nothing more: stdout and stderr themselves do not remember. */
const failures = new WeakMap<Writable, Error>();

/**
 * Without this, a reader that went away would end the program from within an event. `write` and `flushed` notice it
 * instead.
 */
export function tolerateBrokenPipes(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', (error) => failures.set(stream, error));
}

/**
 * Feeds our stdin to the command, as fast as it takes it. Resolves at the end of either.
 * @throws the error of the source: stdin is then not closed, as the command would take that for the end
 */
export async function feed(
  from: AsyncIterable<Buffer>,
  to: { write(bytes: Buffer): Promise<void>; closeStdin(): void },
): Promise<void> {
  for await (const chunk of from) {
    try {
      await to.write(chunk);
    } catch {
      // The command ended, or stopped reading: its exit shows the outcome.
      break;
    }
  }
  to.closeStdin();
}
