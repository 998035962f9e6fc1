/**
 * Boxes of an earlier agent whose records cannot be read: no descriptor is free, the disk fails, the record is from a
 * newer release. They may be running, so they are left alone, and read again at every access.
 */
import type { ImageStore } from '../../images/image-store.ts';
import type { Box, Boxes } from './boxes.ts';
import { processesIn, type CgroupTree } from './cgroup-tree.ts';
import { isAlive } from './pids.ts';

interface UnreadableBoxesOptions {
  boxes: Pick<Boxes, 'get'>;
  images: Pick<ImageStore, 'list' | 'hold' | 'release'>;
  tree: CgroupTree;
  /** All cgroups in which this container may have processes. */
  groupsOf(id: string): string[];
  /** Adopts an earlier agent's box once it is readable, and holds its image. Called once for each. */
  adopt(id: string, box: Box): void;
}

export class UnreadableBoxes {
  readonly #options: UnreadableBoxesOptions;
  readonly #ids = new Set<string>();
  /** Those that are being destroyed. */
  readonly #ending = new Set<string>();
  /** Nobody knows which images they run on, so none is removed meanwhile. */
  #held: Promise<string[]> | undefined;
  #released = Promise.resolve();

  constructor(options: UnreadableBoxesOptions) {
    this.#options = options;
  }

  /** Adopts a box started by an earlier agent, now or once it can be read. */
  found(id: string): void {
    const box = this.#options.boxes.get(id);
    if (box !== undefined) return this.#options.adopt(id, box);
    this.#ids.add(id);
    this.#held ??= this.#holdAll();
  }

  /** Whether it is still unreadable and unadopted: nothing is held for it in particular. */
  has(id: string): boolean {
    return this.#ids.has(id);
  }

  /** Any box, if it can be read. One that only now became readable is adopted first. */
  get(id: string): Box | undefined {
    const box = this.#options.boxes.get(id);
    if (box === undefined || !this.#ids.has(id) || this.#ending.has(id)) return box;
    // No await between the read and the removal: a concurrent call may read it too.
    this.#options.adopt(id, box);
    this.#remove(id);
    return box;
  }

  /** Reads all of them again. */
  async readAgain(): Promise<void> {
    for (const id of [...this.#ids]) this.get(id);
    await this.#released;
  }

  /**
   * Whether any box is running. For an unreadable one, its cgroups decide; if these are unreadable too, it may be
   * running.
   */
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

  /** It is being destroyed: it is not adopted even if its record becomes readable. */
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
