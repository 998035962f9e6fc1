/** Images of the fake runtime: every name exists, except those that say how their pull fails. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { ServiceError, type ErrorCode } from '../../../src/protocol/errors.ts';
import type { EnsureOptions, Image, Images, Refreshed } from '../runtime.ts';

/** `missing/…` and the like: the pull fails with this code. */
const FAILING: Readonly<Record<string, ErrorCode>> = {
  missing: 'image_not_found',
  unauthorized: 'image_unauthorized',
  unreachable: 'image_unreachable',
  invalid: 'image_invalid',
  large: 'capacity_exhausted',
};

export class FakeImages implements Images {
  readonly #images = new Map<string, Image>();
  readonly #pulls = new Map<string, Promise<Image>>();
  readonly #pullMs: number;
  /** Reference → the id of the image that the registry has under it by now. */
  readonly moved = new Map<string, string>();
  /** Number of pulls actually made. */
  pulls = 0;

  constructor(pullMs: number) {
    this.#pullMs = pullMs;
  }

  get(ref: string): Image | undefined {
    return this.#images.get(ref);
  }

  /** @throws ServiceError `image_not_found` if it was removed. */
  need(id: string): void {
    for (const image of this.#images.values()) if (image.id === id) return;
    throw new ServiceError('image_not_found', 'the image was removed');
  }

  async ensure(ref: string, options: EnsureOptions): Promise<Image> {
    return this.#images.get(ref) ?? (await this.#join(ref, options));
  }

  async refresh(ref: string, options: EnsureOptions): Promise<Refreshed> {
    const before = this.#images.get(ref);
    if (before !== undefined && ref.includes('@')) return { image: before, changed: false };
    const image = await this.#join(ref, options);
    return { image, changed: image.id !== before?.id };
  }

  async #join(ref: string, options: EnsureOptions): Promise<Image> {
    let pull = this.#pulls.get(ref);
    if (pull === undefined) {
      pull = this.#pull(ref).finally(() => this.#pulls.delete(ref));
      this.#pulls.set(ref, pull);
    }
    options.onProgress?.({ image: ref, doneBytes: 0, totalBytes: 1, message: 'pulling' });
    const image = await pull;
    options.signal?.throwIfAborted();
    options.onProgress?.({ image: ref, doneBytes: 1, totalBytes: 1, message: 'pulled' });
    return image;
  }

  list(): Promise<{ ref: string; id: string; sizeBytes: number; inUse: boolean }[]> {
    const all = [...this.#images.values()];
    return Promise.resolve(all.map(({ ref, id }) => ({ ref, id, sizeBytes: 1, inUse: false })));
  }

  async remove(ref: string): Promise<void> {
    if (!this.#images.delete(ref)) throw new ServiceError('image_not_found');
  }

  /** Any non-empty archive is an image. Its id is the digest of its bytes. */
  async importTar(ref: string, path: string): Promise<Image> {
    const bytes = await readFile(path);
    if (bytes.length === 0) throw new ServiceError('image_invalid');
    const id = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    const image: Image = { ref, id, env: {}, workdir: '/', user: '' };
    this.#images.set(ref, image);
    return image;
  }

  async #pull(ref: string): Promise<Image> {
    this.pulls += 1;
    await new Promise((resolve) => setTimeout(resolve, this.#pullMs));
    const code = FAILING[/^(.*?)\//.exec(ref)?.[1] ?? ''];
    if (code !== undefined) throw new ServiceError(code);
    const image: Image = {
      ref,
      id: this.moved.get(ref) ?? `sha256:${Buffer.from(ref).toString('hex')}`,
      env: { PATH: '/usr/bin:/bin' },
      workdir: '/',
      user: '',
    };
    this.#images.set(ref, image);
    return image;
  }
}
