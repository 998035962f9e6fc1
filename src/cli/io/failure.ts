/** How the CLI fails: one line on stderr, a hint where there is one, and an exit code that no command's own can be. */
import type { Command } from 'commander';
import { ServiceError } from '../../protocol/errors.ts';
import { exitCodeOfSignal } from './exit-code.ts';
import { printable } from './print.ts';
import { BrokenPipe } from './pump.ts';

/** As ssh: the connection or the service failed, and the command's exit code is not known. */
const PLATFORM_FAILURE = 255;
/** Of this machine, or of who uses it: a disk that is full, an address that is none. */
let localFailure = 1;

const HINTS: Partial<Record<string, string>> = {
  unauthenticated: 'set MILLIBOX_API_KEY to the key that `millibox up` printed',
  node_unavailable: '`npm start` starts a service here; MILLIBOX_URL or --url points to another',
  sandbox_not_found: '`millibox ls` shows those that live',
};

export function reportFailure(error: unknown): never {
  // Whoever reads our output had enough: that is no failure to talk about.
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

/** For what ends with the exit code of a command in a sandbox: no failure of ours must look like one. */
export function keepExitCodesApart(command: Command): void {
  localFailure = PLATFORM_FAILURE;
  command.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : PLATFORM_FAILURE));
}

const shown = (message: string): string => message.split('\n').map(printable).join('\n');
