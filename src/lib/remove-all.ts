/** Removes directories that others may still be emptying. */
import { existsSync, rmSync } from 'node:fs';
import { sleep } from './deadline.ts';

const LIMIT_MS = 60_000;
const PAUSE_MS = 50;

/**
 * Removes a directory with everything in it, and resolves once it is gone. `rmSync` stops without an error when
 * somebody else removed a file before it; and a container's mount may take a moment to go.
 * @throws Error when it is still there after that time
 */
export async function removeAll(directory: string, limitMs = LIMIT_MS): Promise<void> {
  const end = performance.now() + limitMs;
  for (;;) {
    let failure: unknown;
    try {
      rmSync(directory, { recursive: true, force: true });
    } catch (error) {
      failure = error;
    }
    if (failure === undefined && !existsSync(directory)) return;
    if (performance.now() > end) {
      throw new Error(`${directory} could not be removed within ${limitMs} ms`, { cause: failure });
    }
    await sleep(PAUSE_MS);
  }
}
