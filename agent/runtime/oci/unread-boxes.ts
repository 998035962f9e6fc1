/**
 * Boxes of an earlier agent whose records cannot be read: no descriptor is free, the disk fails, the record is of a
 * newer release. They may be running, so they are left alone, and read again when containers are listed.
 */
import type { ImageStore } from '../../images/image-store.ts';

export class UnreadBoxes {
  readonly #images: Pick<ImageStore, 'list' | 'hold' | 'release'>;
  readonly #ids = new Set<string>();
  /** Nobody knows on which image they run: none that has a name is removed meanwhile. */
  #held: Promise<string[]> | undefined;

  constructor(images: Pick<ImageStore, 'list' | 'hold' | 'release'>) {
    this.#images = images;
  }

  add(id: string): void {
    this.#ids.add(id);
    this.#held ??= this.#holdAll();
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  ids(): string[] {
    return [...this.#ids];
  }

  /** It has been read and holds its own image, or it is gone. */
  async delete(id: string): Promise<void> {
    if (!this.#ids.delete(id) || this.#ids.size > 0) return;
    const held = this.#held;
    this.#held = undefined;
    for (const imageId of (await held) ?? []) this.#images.release(imageId);
  }

  async #holdAll(): Promise<string[]> {
    const ids = [...new Set((await this.#images.list()).map(({ id }) => id))];
    for (const id of ids) this.#images.hold(id);
    return ids;
  }
}
