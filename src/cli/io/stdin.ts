/** Our stdin on its way to a command. */
import { asError } from '../../lib/deadline.ts';
import { ServiceError } from '../../protocol/errors.ts';

/** An input that is whole by then is nothing to talk about. */
const NOTE_MS = 3_000;

/**
 * What comes in. Without a WebSocket the command starts when all of it is here, which is told when it takes long.
 * @param runs whether the command is known to run
 * @throws Error when the rest cannot be read: a command must not take the half for the whole
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

/** What comes in. @throws as `readStdin` */
export async function* bytesOfStdin(): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of process.stdin) yield chunk as Buffer;
  } catch (error) {
    if (isNoInput(error)) return;
    throw new Error(`stdin cannot be read to its end: ${asError(error).message}`, { cause: error });
  }
}

/**
 * There is nothing to read: nohup gives a stdin that is open for writing only, and a terminal is not readable once it was
 * hung up, or from an orphaned background job.
 */
function isNoInput(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'EBADF' || (code === 'EIO' && process.stdin.isTTY);
}

/** Keys cannot be sent as they are typed without a WebSocket: says what can be done instead. */
export function withoutKeys(error: unknown): unknown {
  if (!(error instanceof ServiceError) || error.code !== 'not_supported') return error;
  const instead = 'use -n to run the command without stdin, or give it a file or a pipe';
  return new ServiceError('not_supported', `${error.message}; ${instead}`, { cause: error });
}
