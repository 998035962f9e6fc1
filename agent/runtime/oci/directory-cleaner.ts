/** Empties a directory on request, in a separate process. */
import { randomUUID } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { sleep } from '../../../src/lib/deadline.ts';
import type { Logger } from '../../../src/lib/logger.ts';
import { isMissing } from '../../../src/lib/whole-file.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { Coprocess } from './coprocess.ts';

/**
 * Uses `find`, since the names of all entries may exceed what one program can be given as arguments. Passes the first
 * errors on; `$1` ends an answer, and no file name can equal it.
 */
const SCRIPT = `
while read -r _; do
  find "$0" -mindepth 1 -maxdepth 1 -exec rm -rf --one-file-system -- {} + 2>&1 | { head -n 5; cat >/dev/null; }
  echo "$1"
done`;
const ROUND_MS = 10 * 60_000;
const MAX_TRIES = 5;
const PAUSE_MS = 100;

export class DirectoryCleaner {
  readonly #dir: string;
  readonly #shell: Coprocess;
  readonly #log: Logger;
  #rounds: Promise<void> | undefined;
  #requested = false;

  constructor(dir: string, log: Logger) {
    this.#dir = dir;
    this.#log = log;
    const last = randomUUID();
    this.#shell = new Coprocess({
      name: 'the removal of what sandboxes left',
      command: ['sh', '-c', SCRIPT, dir, last],
      deadlineMs: ROUND_MS,
      isLast: (line) => line === last,
    });
  }

  /** Empties the directory in the background. Entries that cannot be removed are logged, and left to the next call. */
  clean(): void {
    this.#requested = true;
    this.#rounds ??= this.#work();
  }

  /** Resolves once everything present at the last call is gone or was logged, and the process has exited. */
  async close(): Promise<void> {
    await this.#rounds;
    this.#shell.close();
  }

  /** Never rejects. Retries, since a container's mount or process may be gone a moment later. */
  async #work(): Promise<void> {
    let errors = '';
    for (let tries = 1; this.#requested || tries <= MAX_TRIES; tries += 1) {
      if (this.#requested) tries = 1;
      this.#requested = false;
      errors = await this.#round();
      if (this.#requested) continue;
      if (this.#left() === 0) break;
      await sleep(PAUSE_MS);
    }
    this.#rounds = undefined;
    const left = this.#left();
    if (left !== 0)
      this.#log.warn({ dir: this.#dir, left, said: errors }, 'files of ended sandboxes cannot be removed');
  }

  /** Returns the errors, if any. */
  async #round(): Promise<string> {
    try {
      return (await this.#shell.request('')).slice(0, -1).join('; ').slice(0, 1_000);
    } catch (error) {
      const { message, cause } = ServiceError.from(error);
      return cause instanceof Error ? `${message}: ${cause.message}` : message;
    }
  }

  /** Number of entries; null if the directory cannot be read. */
  #left(): number | null {
    try {
      return readdirSync(this.#dir).length;
    } catch (error) {
      return isMissing(error) ? 0 : null;
    }
  }
}
