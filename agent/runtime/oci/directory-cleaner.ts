/** Empties one directory whenever it is told to. */
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

  /** Of nothing whose name begins with a dot. */
  constructor(dir: string) {
    this.#dir = dir;
    this.#shell = new Coprocess({
      name: 'the removal of what sandboxes left',
      command: ['sh', '-c', SCRIPT, dir],
      deadlineMs: ROUND_MS,
      isLast: () => true,
    });
  }

  /** There is something in the directory. What cannot be removed stays for the next call. */
  clean(): void {
    this.#asked = true;
    this.#rounds ??= this.#work();
  }

  /** Resolves once everything that was there at the last call is gone, and nothing of this runs. */
  async close(): Promise<void> {
    await this.#rounds;
    this.#shell.close();
  }

  /** Never rejects. What the kernel is about to let go of is a matter of moments. */
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
      return true;
    }
  }
}
