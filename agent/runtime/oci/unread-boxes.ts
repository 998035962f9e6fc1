/**
 * Boxes of an earlier agent whose records cannot be read: no descriptor is free, the disk fails, the record is of a
 * newer release. They may be running, so they are left alone, and read again at every access.
 */
import type { ImageStore } from '../../images/image-store.ts';
import type { Box, Boxes } from './boxes.ts';
import { processesIn, type CgroupTree } from './cgroup-tree.ts';
import { isAlive } from './pids.ts';

interface UnreadBoxesOptions {
  boxes: Pick<Boxes, 'get'>;
  images: Pick<ImageStore, 'list' | 'hold' | 'release'>;
  tree: CgroupTree;
  /** All control groups in which this container may have processes. */
  groupsOf(id: string): string[];
  /** Takes over a box of an earlier agent that can be read. Called once for each, and holds its image. */
  adopt(id: string, box: Box): void;
}

export class UnreadBoxes {
  readonly #options: UnreadBoxesOptions;
  readonly #ids = new Set<string>();
  /** Those of them that are being destroyed. */
  readonly #ending = new Set<string>();
  /** Nobody knows on which image they run: none is removed meanwhile. */
  #held: Promise<string[]> | undefined;
  #released = Promise.resolve();

  constructor(options: UnreadBoxesOptions) {
    this.#options = options;
  }

  /** Takes over what an earlier agent has started, now or once it can be read. */
  found(id: string): void {
    const box = this.#options.boxes.get(id);
    if (box !== undefined) return this.#options.adopt(id, box);
    this.#ids.add(id);
    this.#held ??= this.#holdAll();
  }

  /** Whether it has not been taken over: nothing is held for it alone. */
  has(id: string): boolean {
    return this.#ids.has(id);
  }

  /** Any box, if it can be read. One that could not be until now is taken over first. */
  get(id: string): Box | undefined {
    const box = this.#options.boxes.get(id);
    if (box === undefined || !this.#ids.has(id) || this.#ending.has(id)) return box;
    // Nothing is awaited from the look to the removal: others may look at it too.
    this.#options.adopt(id, box);
    this.#remove(id);
    return box;
  }

  /** Reads all of them again. */
  async readAgain(): Promise<void> {
    for (const id of [...this.#ids]) this.get(id);
    await this.#released;
  }

  /** Whether any box is running. For an unreadable one, its groups decide; if they are unreadable too, it may be. */
  lives(id: string): boolean {
    const { boxes, tree, groupsOf } = this.#options;
    const box = boxes.get(id);
    if (box !== undefined) return isAlive(box);
    if (!this.#ids.has(id)) return false;
    try {
      return groupsOf(id).some((group) => processesIn(tree, group).length > 0);
    } catch {
      return true;
    }
  }

  /** It is being destroyed: should its record become readable, it is not taken over any more. */
  ends(id: string): void {
    if (this.#ids.has(id)) this.#ending.add(id);
  }

  /** It is gone. */
  async delete(id: string): Promise<void> {
    this.#remove(id);
    await this.#released;
  }

  #remove(id: string): void {
    this.#ending.delete(id);
    if (this.#ids.delete(id) && this.#ids.size === 0) this.#released = this.#releaseAll();
  }

  async #holdAll(): Promise<string[]> {
    const { images } = this.#options;
    const ids = [...new Set((await images.list()).map(({ id }) => id))];
    for (const id of ids) images.hold(id);
    return ids;
  }

  async #releaseAll(): Promise<void> {
    for (const imageId of (await this.#held) ?? []) this.#options.images.release(imageId);
  }
}
