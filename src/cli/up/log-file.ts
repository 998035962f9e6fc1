/** The log of a part: one file, plus one older one. */
import { copyFileSync, statSync, truncateSync } from 'node:fs';

const MAX_LOG_BYTES = 32 * 1024 * 1024;

/**
 * Copies a log that has grown too long to `PATH.1` and empties it. The file itself stays, since a process keeps
 * appending to it; lines written between the two steps are lost.
 */
export function rotateLog(path: string, maxBytes = MAX_LOG_BYTES): void {
  try {
    if (statSync(path).size <= maxBytes) return;
    copyFileSync(path, `${path}.1`);
    truncateSync(path);
  } catch {
    // No log yet, or no room for a second one: the part must run regardless.
  }
}
