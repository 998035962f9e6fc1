/** The node's images, for placement: refreshed periodically, never while a call waits. */
import { background } from '../../src/lib/background.ts';
import type { Logger } from '../../src/lib/logger.ts';
import type { Images } from '../runtime/runtime.ts';
import { fitting } from './fitting.ts';

const LOOK_EVERY_MS = 10_000;
/** The report schema's limit. */
const MAX_REFS = 10_000;
/**
 * As JSON: half of the largest message. Placement prefers nodes that have the image; it does not see images beyond
 * this.
 */
const MAX_REFS_BYTES = 512 * 1024;

export class ImageList {
  readonly #images: Images;
  readonly #onChange: () => void;
  readonly #timer: NodeJS.Timeout;
  #refs: string[] = [];

  constructor(images: Images, onChange: () => void, log: Logger) {
    this.#images = images;
    this.#onChange = onChange;
    const look = (): void => background(this.look(), 'the list of images', log);
    this.#timer = setInterval(look, LOOK_EVERY_MS);
    this.#timer.unref();
    look();
  }

  refs(): string[] {
    return this.#refs;
  }

  async look(): Promise<void> {
    const all = (await this.#images.list()).map(({ ref }) => ref).slice(0, MAX_REFS);
    const refs = [...fitting(all, MAX_REFS_BYTES)];
    const same = refs.length === this.#refs.length && refs.every((ref, at) => ref === this.#refs[at]);
    if (same) return;
    this.#refs = refs;
    this.#onChange();
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
