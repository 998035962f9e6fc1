/** Validates what boxinit sends. User code that has taken it over must not be able to speak for the platform. */
import { ServiceError, type ErrorCode } from '../../src/protocol/errors.ts';
import { ExecExit, type ExecEvent } from '../../src/protocol/exec.ts';
import type { Json } from '../../src/mux/index.ts';

const MAX_TEXT = 1024;
/** An event of a file call contains one entry at most. */
const MAX_EVENT_BYTES = 64 * 1024;

/** Error codes about one program, file or port in the sandbox. */
const ITS_OWN: ReadonlySet<ErrorCode> = new Set([
  'invalid_request',
  'idempotency_conflict',
  'exec_not_found',
  'exec_program_not_found',
  'exec_permission_denied',
  'exec_bad_cwd',
  'exec_bad_user',
  'exec_bad_args',
  'exec_resource_limit',
  'output_lost',
  'file_not_found',
  'file_exists',
  'file_permission_denied',
  'file_not_regular',
  'file_not_directory',
  'file_no_space',
  'file_failed',
  'port_refused',
  'range_not_satisfiable',
  // From a claim, before anything of the image has run.
  'image_invalid',
  'not_supported',
  'rate_limited',
  'cancelled',
  'interrupted',
  'deadline_exceeded',
]);

/** An error from boxinit: its code if allowed, its text truncated, its details only if small. */
export function cleanError(error: ServiceError): ServiceError {
  const code = ITS_OWN.has(error.code) ? error.code : 'internal';
  const small = error.details !== undefined && JSON.stringify(error.details).length <= MAX_TEXT;
  return new ServiceError(code, error.message.slice(0, MAX_TEXT), small ? { details: error.details } : {});
}

const SIGNAL = /^[A-Z0-9+]{1,16}$/;
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/**
 * An event of an exec stream; undefined for an unknown type.
 * @throws ServiceError `protocol_error` for an impossible one.
 */
export function readExecEvent(message: Json): ExecEvent | undefined {
  if (message['type'] === 'exit') return readExit(message);
  if (message['type'] !== 'output_lost') return undefined;
  const { channel, from, to } = message;
  if ((channel !== 'stdout' && channel !== 'stderr') || !isCount(from) || !isCount(to) || to < from) {
    throw new ServiceError('protocol_error', 'an impossible output_lost event');
  }
  return { type: 'output_lost', channel, from, to };
}

function readExit(message: Json): ExecEvent {
  const parsed = ExecExit.safeParse(message);
  if (!parsed.success) throw new ServiceError('protocol_error', 'a malformed exit event');
  const exit = parsed.data;
  const fits =
    exit.exitCode >= 0 &&
    exit.exitCode <= 255 &&
    exit.stdoutBytes >= 0 &&
    exit.stderrBytes >= 0 &&
    exit.durationMs >= 0 &&
    (exit.signal === null || SIGNAL.test(exit.signal));
  if (!fits) throw new ServiceError('protocol_error', 'an impossible exit event');
  return { type: 'exit', ...exit };
}

/** An event of any other stream. @throws ServiceError `protocol_error` if it is too large. */
export function readPlainEvent(message: Json): Json {
  if (JSON.stringify(message).length > MAX_EVENT_BYTES)
    throw new ServiceError('protocol_error', 'the event is too long');
  return message;
}
