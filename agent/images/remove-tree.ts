/** Removing trees that somebody else has filled. */
import { sleep } from '../../src/lib/deadline.ts';
import { runTool } from './run-tool.ts';

const REMOVE_MS = 10 * 60_000;
const REMOVE_TRIES = 5;
const REMOVE_PAUSE_MS = 100;

/**
 * Whatever the trees hold: Node's own removal gives up where a path grows longer than the kernel takes, and asks for all
 * entries of a directory at once, however many. Leaves what is mounted there alone. Tries again, since a tool that was
 * just killed may have made a last file. Trees that are not there are no error.
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
