/** Removes directory trees with hostile content. */
import { sleep } from '../../src/lib/deadline.ts';
import { runTool } from '../run-tool.ts';

const REMOVE_MS = 10 * 60_000;
const REMOVE_TRIES = 5;
const REMOVE_PAUSE_MS = 100;

/**
 * Uses rm(1): Node's own removal fails for paths longer than the kernel accepts, and reads all entries of a directory
 * at once, however many. Leaves mounted file systems alone. Retries, since a tool that was just killed may have created
 * one last file. Missing trees are not an error.
 * @throws ToolError.
 */
export async function removeTree(...paths: string[]): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await runTool('rm', ['-rf', '--one-file-system', '--', ...paths], { deadlineMs: REMOVE_MS });
      return;
    } catch (error) {
      if (tries === REMOVE_TRIES) throw error;
      await sleep(REMOVE_PAUSE_MS);
    }
  }
}
