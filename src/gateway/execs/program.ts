/** Turns an exec request into the OPEN payload for a node and the bytes that follow it. */
import { DEFAULT_EXEC_TIMEOUT_MS, DEFAULT_KILL_GRACE_MS, MAX_INLINE_SCRIPT_BYTES } from '../../protocol/limits.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { byteLengthOf, bytesOfText } from '../../protocol/names.ts';
import type { ExecOpen, ExecRequest } from '../../protocol/exec.ts';

export interface Program {
  open: ExecOpen;
  script: Buffer | null;
  stdin: Buffer | null;
  /** From the start until the exit must have arrived. Null: unbounded. */
  limitMs: number | null;
}

/** Between the node's last attempt to end a command that runs too long and the arrival of its exit. */
const EXIT_MARGIN_MS = 15_000;

export interface ProgramContext {
  sandbox: string;
  id: string;
  /** How long it keeps running while no gateway is attached. */
  detachedMs: number;
}

/** @throws ServiceError `invalid_request` for stdin that is declared as base64 but is not. */
export function programOf(request: ExecRequest, { sandbox, id, detachedMs }: ProgramContext): Program {
  const { stdin, maxOutputBytes: _cap, encoding, background, command, ...fields } = request;
  // A background job may run indefinitely; a command that a caller waits for may not.
  const timeoutMs = request.timeoutMs ?? (background ? undefined : DEFAULT_EXEC_TIMEOUT_MS);
  const asScript = command !== undefined && byteLengthOf(command) > MAX_INLINE_SCRIPT_BYTES;
  const script = asScript ? bytesOfText(command) : null;
  const input = stdin === undefined ? null : decodeStdin(stdin, encoding);
  return {
    open: {
      op: 'exec',
      sandbox,
      id,
      ...fields,
      ...(command !== undefined && !asScript ? { command } : {}),
      ...(script !== null ? { scriptBytes: script.length } : {}),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      stdin: input !== null,
      ...(background ? { background: true } : { detachedMs }),
    },
    script,
    stdin: input,
    limitMs:
      timeoutMs === undefined ? null : timeoutMs + (request.killGraceMs ?? DEFAULT_KILL_GRACE_MS) + EXIT_MARGIN_MS,
  };
}

function decodeStdin(text: string, encoding: ExecRequest['encoding']): Buffer {
  if (encoding === 'utf8') return Buffer.from(text);
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) {
    throw new ServiceError('invalid_request', 'stdin is not base64');
  }
  return Buffer.from(text, 'base64');
}
