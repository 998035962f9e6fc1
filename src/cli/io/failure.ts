/** How the CLI fails: one line on stderr, perhaps a hint, and an exit code that no command would use. */
import type { Command } from 'commander';
import { ServiceError, type ErrorCode } from '../../protocol/errors.ts';
import { exitCodeOfSignal } from './exit-code.ts';
import { printable } from './print.ts';
import { BrokenPipe } from './pump.ts';

/** As with ssh: the connection or the service failed, so the command's exit code is unknown. */
const PLATFORM_FAILURE = 255;
/** A fault of this machine or its user: a full disk, an invalid address. */
let localFailure = 1;

const HINTS: Partial<Record<ErrorCode, string>> = {
  unauthenticated: 'set MILLIBOX_API_KEY to the key that `npm start` or `millibox up` printed',
  forbidden: 'nodes and images need an administrator key: see docs/tenants.md',
  sandbox_not_found: '`millibox ls` lists the live ones',
  sandbox_ended: '`millibox ls -a` shows when and why',
  exec_not_found: '`millibox jobs SANDBOX` lists the known ones',
  exec_program_not_found: 'with -s the command is run by a shell; without it, it is a program and its arguments',
  quota_exceeded: '`millibox ls` lists live sandboxes, and `millibox rm` makes room',
  capacity_exhausted: '`millibox ls` lists live sandboxes, and `millibox rm` makes room',
  interrupted: 'it may have been done: check before you repeat it',
};
const TOO_MANY_COMMANDS = 'try again when one of its commands has ended; docs/tenants.md has the limits';
const START_OR_POINT = '`npm start` starts a service here; MILLIBOX_URL or --url points to another';
const LOOK_AT_NODES = 'the service is up, but one of its nodes is not: try again; `millibox node ls` shows their state';
const REPEAT = 'there may be more: run the same command again';

function hintOf(error: ServiceError): string | undefined {
  if (error.retryable && deletedSoFar(error) !== undefined) return REPEAT;
  if (error.code === 'quota_exceeded' && error.details?.['quota'] === 'execs') return TOO_MANY_COMMANDS;
  if (error.code !== 'node_unavailable') return HINTS[error.code];
  // An answer of the service about its nodes has no cause on this side of the wire.
  return error.cause === undefined ? LOOK_AT_NODES : START_OR_POINT;
}

/** How many sandboxes a partial delete by label has deleted. */
export function deletedSoFar(error: unknown): number | undefined {
  const deleted = error instanceof ServiceError ? error.details?.['deleted'] : undefined;
  return typeof deleted === 'number' ? deleted : undefined;
}

export function reportFailure(error: unknown): never {
  // The reader of our output has seen enough, which is not worth reporting.
  if (error instanceof BrokenPipe) process.exit(exitCodeOfSignal('SIGPIPE'));
  process.stderr.write(`millibox: ${describeFailure(error)}\n`);
  process.exit(error instanceof ServiceError ? PLATFORM_FAILURE : localFailure);
}

export function describeFailure(error: unknown): string {
  if (error instanceof ServiceError) {
    const hint = hintOf(error);
    return `${shown(error.message.trimEnd())} (${error.code})${hint === undefined ? '' : `\n  ${hint}`}`;
  }
  return shown(error instanceof Error ? error.message : String(error));
}

/** For commands that exit with the code of a command in a sandbox: our own failures must be distinguishable from it. */
export function keepExitCodesApart(command: Command): void {
  localFailure = PLATFORM_FAILURE;
  command.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : PLATFORM_FAILURE));
}

const shown = (message: string): string => message.split('\n').map(printable).join('\n');
