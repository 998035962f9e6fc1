/** What the SDK throws. `MilliboxError` covers every error of the service; its `code` says which one it is. */
import { ServiceError } from '../protocol/errors.ts';
import type { ExecResult } from './exec/result.ts';

export { ServiceError as MilliboxError, type ErrorCode } from '../protocol/errors.ts';

/** A command ended with a non-zero exit code or a timeout, and the caller had set `check`. */
export class CommandFailedError extends Error {
  override readonly name = 'CommandFailedError';
  readonly result: ExecResult<string> | ExecResult<Buffer>;

  constructor(result: ExecResult<string> | ExecResult<Buffer>) {
    super(describe(result));
    this.result = result;
  }
}

const MAX_QUOTED = 2_000;

function describe(result: ExecResult<string> | ExecResult<Buffer>): string {
  const how = result.timedOut
    ? 'the command ran into its timeout'
    : result.signal === null
      ? `the command ended with exit code ${result.exitCode}`
      : `the command was ended by signal ${result.signal}`;
  const stderr = result.stderr.toString().trimEnd();
  if (stderr === '') return how;
  return `${how}:\n${stderr.length > MAX_QUOTED ? `…${stderr.slice(-MAX_QUOTED)}` : stderr}`;
}

/** The error for a call that needs a WebSocket, with the reason why there is none. */
export function needsWebSocket(what: string, why: ServiceError): ServiceError {
  const message = `${what} needs a WebSocket to the gateway, and none can be opened: ${why.message}`;
  return new ServiceError('not_supported', message, { cause: why });
}

/** Whether a file call failed because nothing has that name. A path below a regular file does not exist either. */
export function isAbsent(error: unknown): boolean {
  return error instanceof ServiceError && (error.code === 'file_not_found' || error.code === 'file_not_directory');
}
