/** One run of the bench: everything that it makes on the machine is known by its directory, and gone at its end. */
import { chmodSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from '../../src/lib/deadline.ts';
import { removeAll } from '../../src/lib/remove-all.ts';
import { childrenOf, leftMounts, leftOf } from '../../test/helpers/leftovers.ts';
import { removeContainers } from './docker.ts';

/** The kernel and an engine take a moment to let go of what was ended last. */
const SETTLE_LIMIT_MS = 30_000;
const LOOK_EVERY_MS = 200;

export class BenchRun {
  /** A short path: it is part of the paths of unix sockets. */
  readonly directory = mkdtempSync(join(tmpdir(), 'mbb-'));
  readonly #dataDirs = new Set<string>();

  constructor() {
    // Programs of containers that run as another user pass through.
    chmodSync(this.directory, 0o711);
  }

  /** An agent had this directory, and may have left what is named by it. */
  noteDataDir(path: string): void {
    this.#dataDirs.add(path);
  }

  /**
   * Resolves once nothing is left of the run, or after half a minute with what is.
   * @param cut the scenario was not allowed to end, nor to remove what it had made itself
   */
  async end(cut: boolean, settleMs = SETTLE_LIMIT_MS): Promise<string[]> {
    const endAt = performance.now() + settleMs;
    for (;;) {
      if (cut) {
        await removeContainers(this.directory);
        await this.#removeDirectory();
      }
      // What a scenario that was cut off still has under it ends with this process.
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

  /** What is mounted below it must not be emptied with it. */
  async #removeDirectory(): Promise<void> {
    if (leftMounts(this.directory).length === 0) await removeAll(this.directory);
  }
}
