/** One bench run: everything it creates on the machine is identified by its directory, and gone at its end. */
import { chmodSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from '../../src/lib/deadline.ts';
import { removeAll } from '../../src/lib/remove-all.ts';
import { childrenOf, leftMounts, leftOf } from '../../test/helpers/leftovers.ts';
import { removeContainers } from './docker.ts';

/** The kernel and a container engine take a moment to release what was ended last. */
const SETTLE_LIMIT_MS = 30_000;
const LOOK_EVERY_MS = 200;

export class BenchRun {
  /** A short path: it is part of the paths of unix sockets. */
  readonly directory = mkdtempSync(join(tmpdir(), 'mbb-'));
  readonly #dataDirs = new Set<string>();

  constructor() {
    // Programs in containers that run as another user must be able to pass through.
    chmodSync(this.directory, 0o711);
  }

  /** An agent used this directory, and may have left things that are named after it. */
  noteDataDir(path: string): void {
    this.#dataDirs.add(path);
  }

  /**
   * Resolves once nothing is left of the run, or after half a minute with what is.
   * @param cut the scenario was not allowed to end, nor to remove what it had created
   */
  async end(cut: boolean, settleMs = SETTLE_LIMIT_MS): Promise<string[]> {
    const endAt = performance.now() + settleMs;
    for (;;) {
      if (cut) {
        await removeContainers(this.directory);
        await this.#removeDirectory();
      }
      // What a scenario that was cut off still runs ends with this process.
      const left = [...new Set([...(cut ? [] : childrenOf(process.pid)), ...(await this.#left())])];
      if (left.length === 0 || performance.now() > endAt) {
        await this.#removeDirectory();
        return left;
      }
      await sleep(LOOK_EVERY_MS);
    }
  }

  #left(): Promise<string[]> {
    return leftOf({ path: this.directory, dataDirs: () => [...this.#dataDirs], except: new Set([process.pid]) });
  }

  /** File systems mounted below it must not be emptied with it. */
  async #removeDirectory(): Promise<void> {
    if (leftMounts(this.directory).length === 0) await removeAll(this.directory);
  }
}
