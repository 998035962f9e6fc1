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
  // The listener of what did not happen goes too.
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
 * Resolves once all that was written has been taken, or its reader had enough: an exit of this process would throw it
 * away.
 * @throws why stdout did not take it
 */
export async function flushed(): Promise<void> {
  const taken = (to: Writable): Promise<void> => new Promise((resolve) => to.write('', () => resolve()));
  await Promise.all([process.stdout, process.stderr].map(taken));
  const failure = failures.get(process.stdout);
  if (failure !== undefined && !isBrokenPipe(failure)) throw failure;
}

const isBrokenPipe = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'EPIPE';

/** Why a stream of ours took something no more: stdout and stderr themselves forget it. */
const failures = new WeakMap<Writable, Error>();

/** Without this, a reader that went away would end the program inside an event. `write` and `flushed` notice it. */
export function tolerateBrokenPipes(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', (error) => failures.set(stream, error));
}

/**
 * Feeds our stdin to the command, as fast as it is taken. Resolves at the end of either.
 * @throws what the source failed with: stdin is not closed then, as the command would take that for the end
 */
export async function feed(
  from: AsyncIterable<Buffer>,
  to: { write(bytes: Buffer): Promise<void>; closeStdin(): void },
): Promise<void> {
  for await (const chunk of from) {
    try {
      await to.write(chunk);
    } catch {
      // The command ended, or stopped reading: its exit tells the rest.
      break;
    }
  }
  to.closeStdin();
}
