/** Looks up installed programs. */
import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { TOOLS_PATH } from '../../tools-path.ts';

const VERSION_MS = 10_000;
const OTHERWISE = 'or set MILLIBOX_RUNTIME to one that does without it (docs/runtimes.md)';
const run = promisify(execFile);

/** The path of an installed program. @throws ServiceError `not_supported`. */
export async function findProgram(name: string): Promise<string> {
  const places = name.includes('/') ? [name] : TOOLS_PATH.split(delimiter).map((dir) => join(dir, name));
  for (const path of places) {
    const there = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (there) return path;
  }
  const where = name.includes('/') ? '' : ` in ${TOOLS_PATH}`;
  throw new ServiceError('not_supported', `there is no ${name}${where}: install it, ${OTHERWISE}`);
}

/** The output of `--version`. @throws ServiceError `not_supported` if the program cannot run here. */
export async function mustRun(program: string): Promise<string> {
  try {
    return (await run(program, ['--version'], { timeout: VERSION_MS })).stdout;
  } catch (error) {
    const why = error instanceof Error ? error.message.trim() : String(error);
    throw new ServiceError('not_supported', `${program} does not run (${why}): fix it, ${OTHERWISE}`, {
      cause: error,
    });
  }
}
