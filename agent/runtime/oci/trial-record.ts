/** Which program made a container on this data directory last, and what an operator is told of one that could not. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ServiceError } from '../../../src/protocol/errors.ts';

/** An OCI runtime: its path, and what it says of its version. */
export interface Program {
  path: string;
  version: string;
}

/** `dir`: where the runtime keeps its state. Whether this very program was tried there last, and worked. */
export async function hasPassed(dir: string, program: Program): Promise<boolean> {
  const last = await readFile(recordIn(dir), 'utf8').catch(() => '');
  return last === nameOf(program);
}

export async function notePassed(dir: string, program: Program): Promise<void> {
  await writeFile(recordIn(dir), nameOf(program), { mode: 0o600 });
}

/** On one line. */
export function notPassed({ path }: Program, error: unknown): ServiceError {
  const advice = 'set MILLIBOX_OCI_PROGRAM to one that can, or MILLIBOX_RUNTIME=docker (docs/runtimes.md)';
  const message = `${path} can make no container here: ${reasonOf(error)}; ${advice}`;
  return new ServiceError('not_supported', message, { cause: error });
}

const recordIn = (dir: string): string => join(dir, 'passed');

const nameOf = ({ path, version }: Program): string => `${path}\n${version}`;

/** What lies below says more: the message of a runtime that failed says only that it did. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { message } = error.cause instanceof Error ? error.cause : error;
  return message.trim().replaceAll(/\s*\n\s*/g, ', ');
}
