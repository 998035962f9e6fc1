/** What the SDK throws. `MilliboxError` covers everything the service said; `code` tells which of its errors it is. */
import { ServiceError } from '../protocol/errors.ts';
import type { ExecResult } from './exec/result.ts';

export { ServiceError as MilliboxError, type ErrorCode } from '../protocol/errors.ts';

/** A command ended with a non-zero exit, and the caller had asked for `check`. */
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

/** What cannot be done over plain HTTP, and why it would have to be. */
export function needsWebSocket(what: string, why: ServiceError): ServiceError {
  const message = `${what} needs a WebSocket to the gateway, and none can be had: ${why.message}`;
  return new ServiceError('not_supported', message, { cause: why });
}

/** Whether a file call failed since nothing has the name. Below a file there is nothing. */
export function isAbsent(error: unknown): boolean {
  return error instanceof ServiceError && (error.code === 'file_not_found' || error.code === 'file_not_directory');
}
