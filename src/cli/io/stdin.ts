/** Our stdin on its way to a command. */
import { ServiceError } from '../../protocol/errors.ts';

/** An input that is whole by then is nothing to talk about. */
const NOTE_MS = 3_000;

/**
 * What comes in, and where it cannot be read, no more. Without a WebSocket the command starts when all of it is here, which
 * is told when it takes long.
 * @param runs whether the command is known to run
 */
export async function* readStdin(runs: () => boolean): AsyncGenerator<Buffer> {
  const note = setTimeout(() => {
    if (runs()) return;
    process.stderr.write(
      'millibox: no WebSocket gets through: the command starts at the end of stdin (-n: without it)\n',
    );
  }, NOTE_MS);
  try {
    for await (const chunk of process.stdin) yield chunk as Buffer;
  } catch {
    // What cannot be read has ended.
  } finally {
    clearTimeout(note);
  }
}

/** Keys cannot be sent as they are typed without a WebSocket: says what can be done instead. */
export function withoutKeys(error: unknown): unknown {
  if (!(error instanceof ServiceError) || error.code !== 'not_supported') return error;
  const instead = 'with -n the command runs without stdin; a file or a pipe is sent to it as a whole';
  return new ServiceError('not_supported', `${error.message}; ${instead}`, { cause: error });
}
