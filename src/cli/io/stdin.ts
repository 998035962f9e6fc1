/** Reads our stdin for a command. */
import { asError } from '../../lib/deadline.ts';
import { ServiceError } from '../../protocol/errors.ts';

/** An input that is complete by then needs no message. */
const NOTE_MS = 3_000;

/**
 * The bytes of stdin. Without a WebSocket the command starts only when all of it is here; if that takes long, the user
 * is told.
 * @param runs whether the command is known to run
 * @throws Error when the rest cannot be read: a command must not take a part for the whole
 */
export async function* readStdin(runs: () => boolean): AsyncGenerator<Buffer> {
  const note = setTimeout(() => {
    if (runs()) return;
    process.stderr.write(
      'millibox: WebSockets are blocked: the command starts once stdin has ended (-n: starts it without stdin)\n',
    );
  }, NOTE_MS);
  try {
    yield* bytesOfStdin();
  } finally {
    clearTimeout(note);
  }
}

/** The bytes of stdin. @throws as `readStdin` */
export async function* bytesOfStdin(): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of process.stdin) yield chunk as Buffer;
  } catch (error) {
    if (isNoInput(error)) return;
    throw new Error(`stdin cannot be read to its end: ${asError(error).message}`, { cause: error });
  }
}

/**
 * Whether the error means that there is nothing to read: nohup gives a stdin that is open for writing only, and a
 * terminal cannot be read once it was hung up, or from an orphaned background job.
 */
function isNoInput(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'EBADF' || (code === 'EIO' && process.stdin.isTTY);
}

/** Without a WebSocket, keys cannot be sent as they are typed: the error says what to do instead. */
export function withoutKeys(error: unknown): unknown {
  if (!(error instanceof ServiceError) || error.code !== 'not_supported') return error;
  const instead = 'use -n to run the command without stdin, or give it a file or a pipe';
  return new ServiceError('not_supported', `${error.message}; ${instead}`, { cause: error });
}
