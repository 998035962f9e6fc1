/** The caller's options for a command, and which of them are sent. */
import { DETACHED_GRACE_MS, MAX_MAX_OUTPUT_BYTES, MAX_SCRIPT_BYTES } from '../../protocol/limits.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { byteLengthOf, bytesOfText } from '../../protocol/names.ts';
import type { OptionNames } from '../known-options.ts';
import { isSource, type ByteSource } from '../source.ts';
import { checkVariables } from '../variables.ts';
import type { Program } from './session.ts';

export type Encoding = 'utf8' | 'bytes';
export type OutputOf<E extends Encoding> = E extends 'bytes' ? Buffer : string;
/** Text or bytes at once, or in pieces; `true` to send it with `write` later. */
export type StdinSource = ByteSource | true;

export interface ExecOptions<E extends Encoding = Encoding> {
  /** Absolute, or relative to the image's WORKDIR. */
  cwd?: string | undefined;
  env?: Record<string, string> | undefined;
  /** name, uid, name:group or uid:gid. */
  user?: string | undefined;
  /** For a string command. bash falls back to sh. */
  shell?: 'sh' | 'bash' | undefined;
  stdin?: StdinSource | undefined;
  /** After this the command is killed, and the result says `timedOut`. */
  timeoutMs?: number | undefined;
  /** Time between TERM and KILL at a timeout. */
  killGraceMs?: number | undefined;
  /** Called with each piece in order. Returning a promise delays the next piece, and eventually blocks the command. */
  onStdout?: ((data: OutputOf<E>) => unknown) | undefined;
  onStderr?: ((data: OutputOf<E>) => unknown) | undefined;
  /** How much of each channel the result keeps; the rest is drained and flagged. Default 64 MiB. */
  maxOutputBytes?: number | undefined;
  /** `utf8`: strings, characters never cut in two. `bytes`: Buffers. */
  encoding?: E | undefined;
  /**
   * With encoding `bytes`: each piece of an iteration is valid only until the loop asks for the next, because its
   * memory is reused. For gigabytes of output, where allocating Buffers costs more than everything else.
   */
  lend?: boolean | undefined;
  /** Reject with CommandFailedError unless the exit code is 0, and also on a timeout. */
  check?: boolean | undefined;
  /** Kills the command and rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** How long the command keeps running when this client is cut off and does not come back. */
  detachedMs?: number | undefined;
  /** Output kept for resuming after a cut, per channel. */
  ringBytes?: number | undefined;
  /**
   * An id for this run, unique in its sandbox. While it runs and for an hour after its end, another exec with the same
   * id gets the same run: the command does not run again, and its output starts at the first byte that is still kept
   * (the last MiB of each channel unless `ringBytes` says otherwise; a gap is reported). A different command under the
   * id is refused (`idempotency_conflict`). Only one reader at a time: the previous handle ends with `cancelled`.
   */
  id?: string | undefined;
}

export type Command = string | readonly string[];

/** The first byte of each channel to receive. Default: the first one that is still kept. */
export interface AttachFrom {
  stdout?: number | undefined;
  stderr?: number | undefined;
}

export type AttachOptions<E extends Encoding = Encoding> = Omit<ExecOptions<E>, 'id'> & AttachFrom;

export const EXEC_OPTIONS: OptionNames<ExecOptions> = {
  cwd: true,
  env: true,
  user: true,
  shell: true,
  stdin: true,
  timeoutMs: true,
  killGraceMs: true,
  onStdout: true,
  onStderr: true,
  maxOutputBytes: true,
  encoding: true,
  lend: true,
  check: true,
  signal: true,
  detachedMs: true,
  ringBytes: true,
  id: true,
};
const { id: _, ...withoutId } = EXEC_OPTIONS;
export const ATTACH_OPTIONS: OptionNames<AttachOptions> = { ...withoutId, stdout: true, stderr: true };

/** Longer commands are sent as data after the OPEN, which is one frame. */
const MAX_COMMAND_IN_OPEN_BYTES = 64 * 1024;

export interface Prepared {
  program: NonNullable<Program>;
  script: Buffer | undefined;
}

/** Checks the options that are not sent to the service. @throws ServiceError `invalid_request`. */
export function checkOwn({ encoding, stdin, onStdout, onStderr }: ExecOptions): void {
  if (encoding !== undefined && encoding !== 'utf8' && encoding !== 'bytes') {
    throw new ServiceError('invalid_request', `encoding must be 'utf8' or 'bytes', not ${JSON.stringify(encoding)}`);
  }
  if (stdin !== undefined && stdin !== true && !isSource(stdin)) {
    throw new ServiceError(
      'invalid_request',
      'stdin must be a string, bytes, an iterable of either, or true to write it later',
    );
  }
  if (!isCallback(onStdout) || !isCallback(onStderr)) {
    throw new ServiceError('invalid_request', 'onStdout and onStderr must be functions');
  }
}

function isCallback(value: unknown): boolean {
  return value === undefined || typeof value === 'function';
}

/** How much of each channel a result keeps. @throws ServiceError `invalid_request`. */
export function outputCap({ maxOutputBytes = MAX_MAX_OUTPUT_BYTES }: ExecOptions): number {
  if (Number.isSafeInteger(maxOutputBytes) && maxOutputBytes >= 0) return maxOutputBytes;
  throw new ServiceError('invalid_request', 'maxOutputBytes must be a whole number of bytes, 0 or more');
}

/** @throws ServiceError `invalid_request`. */
export function attachPoint({ stdout = 0, stderr = 0 }: AttachFrom): { stdout: number; stderr: number } {
  for (const offset of [stdout, stderr]) {
    if (!Number.isSafeInteger(offset) || offset < 0) {
      throw new ServiceError(
        'invalid_request',
        'stdout and stderr, where to attach, must be whole numbers of bytes, 0 or more',
      );
    }
  }
  return { stdout, stderr };
}

/** For callers without a type checker. @throws ServiceError `invalid_request`. */
export function checkCommand(command: Command): Command {
  if (typeof command === 'string' || Array.isArray(command)) return command;
  throw new ServiceError('invalid_request', 'command must be a string or a list of strings');
}

/** @throws ServiceError `invalid_request`. */
export function prepare(command: Command, options: ExecOptions): Prepared {
  checkCommand(command);
  checkVariables('env', options.env);
  const program: NonNullable<Program> = {
    ...pick(options, ['cwd', 'env', 'user', 'shell', 'timeoutMs', 'killGraceMs', 'ringBytes']),
    detachedMs: options.detachedMs ?? DETACHED_GRACE_MS,
    ...(options.stdin === undefined ? {} : { stdin: true }),
  };
  if (typeof command !== 'string') {
    if (command.length === 0) throw new ServiceError('invalid_request', 'an empty list of arguments');
    return { program: { ...program, argv: [...command] }, script: undefined };
  }
  if (command === '') throw new ServiceError('invalid_request', 'an empty command');
  const bytes = byteLengthOf(command);
  if (bytes > MAX_SCRIPT_BYTES) {
    throw new ServiceError('invalid_request', `a command of ${bytes} bytes; at most ${MAX_SCRIPT_BYTES}`);
  }
  // A command inside the OPEN is checked by the gateway.
  if (bytes > MAX_COMMAND_IN_OPEN_BYTES && command.includes('\0')) {
    throw new ServiceError('invalid_request', 'a zero byte cannot be passed to a program');
  }
  if (bytes <= MAX_COMMAND_IN_OPEN_BYTES) return { program: { ...program, command }, script: undefined };
  return { program, script: bytesOfText(command) };
}

function pick<T extends object, K extends keyof T>(from: T, keys: readonly K[]): Partial<Pick<T, K>> {
  const to: Partial<Pick<T, K>> = {};
  for (const key of keys) if (from[key] !== undefined) to[key] = from[key];
  return to;
}
