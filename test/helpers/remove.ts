/** Directories that others may still be emptying. */
import { existsSync, rmSync } from 'node:fs';
import { until } from './until.ts';

const LIMIT_MS = 60_000;

/**
 * Removes a directory with all that is in it, and resolves once it is gone. `rmSync` takes a file that somebody else
 * removed before it for the end of the whole work, without an error; and a container's mount may take a moment to go.
 */
export async function removeAll(directory: string): Promise<void> {
  const gone = (): boolean => {
    rmSync(directory, { recursive: true, force: true });
    return !existsSync(directory);
  };
  await until(gone, LIMIT_MS, `${directory} to be gone`);
}
