/** Remembers which program last passed the trial on this data directory, and words the error for one that did not. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ServiceError } from '../../../src/protocol/errors.ts';

/** An OCI runtime: its path and its `--version` output. */
export interface Program {
  path: string;
  version: string;
}

/** Whether this program passed the last trial. `dir`: the runtime's state directory. */
export async function hasPassed(dir: string, program: Program): Promise<boolean> {
  const last = await readFile(recordIn(dir), 'utf8').catch(() => '');
  return last === nameOf(program);
}

export async function notePassed(dir: string, program: Program): Promise<void> {
  await writeFile(recordIn(dir), nameOf(program), { mode: 0o600 });
}

/** The error for the operator, on one line. */
export function notPassed({ path }: Program, error: unknown): ServiceError {
  const advice = 'set MILLIBOX_OCI_PROGRAM to one that can, or MILLIBOX_RUNTIME=docker (docs/runtimes.md)';
  const message = `${path} cannot start a container here: ${reasonOf(error)}; ${advice}`;
  return new ServiceError('not_supported', message, { cause: error });
}

const recordIn = (dir: string): string => join(dir, 'passed');

const nameOf = ({ path, version }: Program): string => `${path}\n${version}`;

/** Prefers the cause: the error's own message says only that the runtime failed. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { message } = error.cause instanceof Error ? error.cause : error;
  return message.trim().replaceAll(/\s*\n\s*/g, ', ');
}
