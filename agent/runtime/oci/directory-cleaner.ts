/** Empties a directory on request, in a process of its own. */
import { readdirSync } from 'node:fs';
import { sleep } from '../../../src/lib/deadline.ts';
import { Coprocess } from './coprocess.ts';

const SCRIPT = 'while read -r _; do rm -rf --one-file-system -- "$0"/*; echo; done';
const ROUND_MS = 10 * 60_000;
const MAX_TRIES = 5;
const PAUSE_MS = 100;

export class DirectoryCleaner {
  readonly #dir: string;
  readonly #shell: Coprocess;
  #rounds: Promise<void> | undefined;
  #asked = false;

  /** Entries whose name begins with a dot are not removed. */
  constructor(dir: string) {
    this.#dir = dir;
    this.#shell = new Coprocess({
      name: 'the removal of what sandboxes left',
      command: ['sh', '-c', SCRIPT, dir],
      deadlineMs: ROUND_MS,
      isLast: () => true,
    });
  }

  /** Empties the directory in the background. What cannot be removed stays for the next call. */
  clean(): void {
    this.#asked = true;
    this.#rounds ??= this.#work();
  }

  /** Resolves once everything present at the last call is gone and the process has ended. */
  async close(): Promise<void> {
    await this.#rounds;
    this.#shell.close();
  }

  /** Never rejects. Retries, since a mount or process of a container may be gone a moment later. */
  async #work(): Promise<void> {
    for (let tries = 1; this.#asked || tries <= MAX_TRIES; tries += 1) {
      if (this.#asked) tries = 1;
      this.#asked = false;
      await this.#shell.ask('').catch(() => undefined);
      if (this.#asked) continue;
      if (this.#isEmpty()) break;
      await sleep(PAUSE_MS);
    }
    this.#rounds = undefined;
  }

  #isEmpty(): boolean {
    try {
      return readdirSync(this.#dir).length === 0;
    } catch {
      // The directory is gone.
      return true;
    }
  }
}
