/** The log of a part: one file, and one older one beside it. */
import { copyFileSync, statSync, truncateSync } from 'node:fs';

const MAX_LOG_BYTES = 32 * 1024 * 1024;

/**
 * Moves the content of a log that has grown too long to `PATH.1`. The file itself stays, since a process writes to it,
 * always at its end; lines that come between the two steps are lost.
 */
export function rotateLog(path: string, maxBytes = MAX_LOG_BYTES): void {
  try {
    if (statSync(path).size <= maxBytes) return;
    copyFileSync(path, `${path}.1`);
    truncateSync(path);
  } catch {
    // No log yet, or no room for a second one: the part must run all the same.
  }
}
