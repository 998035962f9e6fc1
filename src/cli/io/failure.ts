/** How the CLI fails: one line on stderr, perhaps a hint, and an exit code that no command would use. */
import type { Command } from 'commander';
import { ServiceError } from '../../protocol/errors.ts';
import { exitCodeOfSignal } from './exit-code.ts';
import { printable } from './print.ts';
import { BrokenPipe } from './pump.ts';

/** As with ssh: the connection or the service failed, so the command's exit code is unknown. */
const PLATFORM_FAILURE = 255;
/** A fault of this machine or its user: a full disk, an invalid address. */
let localFailure = 1;

const HINTS: Partial<Record<string, string>> = {
  unauthenticated: 'set MILLIBOX_API_KEY to the key that `millibox up` printed',
  node_unavailable: '`npm start` starts a service here; MILLIBOX_URL or --url points to another',
  sandbox_not_found: '`millibox ls` shows those that live',
};

export function reportFailure(error: unknown): never {
  // The reader of our output has seen enough, which is not worth reporting.
  if (error instanceof BrokenPipe) process.exit(exitCodeOfSignal('SIGPIPE'));
  process.stderr.write(`millibox: ${describeFailure(error)}\n`);
  process.exit(error instanceof ServiceError ? PLATFORM_FAILURE : localFailure);
}

export function describeFailure(error: unknown): string {
  if (error instanceof ServiceError) {
    const hint = HINTS[error.code];
    return `${shown(error.message)} (${error.code})${hint === undefined ? '' : `\n  ${hint}`}`;
  }
  return shown(error instanceof Error ? error.message : String(error));
}

/** For commands that exit with the code of a command in a sandbox: our own failures must not look like it. */
export function keepExitCodesApart(command: Command): void {
  localFailure = PLATFORM_FAILURE;
  command.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : PLATFORM_FAILURE));
}

const shown = (message: string): string => message.split('\n').map(printable).join('\n');
