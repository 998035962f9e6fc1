/** Converts a `StartRequest` of the Connect protocol to a program for the exec services. */
import { ExecRequest } from '../../../../protocol/exec.ts';
import { MAX_TIMEOUT_MS } from '../../../../protocol/limits.ts';
import { programOf, type Program } from '../../../execs/program.ts';
import { check } from '../../../http/route.ts';
import type { CommandSpec, StartRequest } from './command-session.gen.ts';

export interface ProgramOptions {
  sandbox: string;
  /** Exec id. */
  id: string;
  /** Null: the longest timeout allowed. */
  timeoutMs: number | null;
}

const KILL_GRACE_MS = 1_000;
/** How long a command keeps running when this gateway itself is gone. */
const DETACHED_MS = 300_000;
const BASH = /^(\/bin\/|\/usr\/bin\/)?bash$/;

/** @throws ServiceError `invalid_request` */
export function programFor(
  command: CommandSpec,
  request: StartRequest,
  { sandbox, id, timeoutMs }: ProgramOptions,
): Program {
  const fields = {
    ...commandOf(command),
    ...(command.cwd ? { cwd: command.cwd } : {}),
    ...(command.user ? { user: command.user } : {}),
    env: command.envs,
    ...(timeoutMs === null ? {} : { timeoutMs }),
    killGraceMs: KILL_GRACE_MS,
  };
  const program = programOf(check(ExecRequest, fields, 'command'), { sandbox, id, detachedMs: DETACHED_MS });
  const size = request.pty?.size;
  return {
    ...program,
    open: {
      ...program.open,
      ...(timeoutMs === null ? { timeoutMs: MAX_TIMEOUT_MS } : {}),
      stdin: request.stdin === true || request.pty !== undefined,
      ...(size === undefined ? {} : { pty: { cols: Math.max(1, size.cols), rows: Math.max(1, size.rows) } }),
    },
  };
}

/** A program that attaches to a running command, started by this gateway or another. */
export function attachProgram(sandbox: string, id: string): Program {
  return { open: { op: 'exec', sandbox, id, stdin: true }, script: null, stdin: null, limitMs: null };
}

/** `bash -c TEXT` is run as a script, which may be longer than an argument and falls back to `sh` without bash. */
function commandOf({ cmd, args }: CommandSpec): Pick<ExecRequest, 'command' | 'argv' | 'shell'> {
  const [flag, text, ...more] = args;
  const isScript = BASH.test(cmd) && flag === '-c' && text !== undefined && more.length === 0;
  return isScript ? { command: text === '' ? ':' : text, shell: 'bash' } : { argv: [cmd, ...args] };
}
