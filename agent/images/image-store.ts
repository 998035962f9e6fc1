/** Images of the node-native runtimes: unpacked once, shared read-only by all sandboxes, named by references. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Logger } from '../../src/lib/logger.ts';
import { orAbort } from '../../src/lib/deadline.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { Image, Images, PullProgress } from '../runtime/runtime.ts';
import { archiveKind, archiveToLayout } from './archive.ts';
import { Catalogue, type StoredImage } from './catalogue.ts';
import { readLayout, type ImageConfig } from './layout.ts';
import { canonical, familiar, parseReference, type Reference } from './reference.ts';
import { copyFromRegistry, type RegistryConfig } from './registry.ts';
import { runTool } from './run-tool.ts';
import { unpackLayout, unpackTar } from './unpack.ts';

/** Pulls at once; the others wait in line. */
const MAX_PULLS = 4;
/** Spellings of references that were looked up: clients choose them. */
const MAX_SPELLINGS = 10_000;
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

interface Pull {
  done: Promise<Image>;
  watchers: Set<(progress: PullProgress) => void>;
  waiting: number;
  abort: AbortController;
}

export interface ImageStoreOptions {
  dir: string;
  registry: RegistryConfig;
  /** Reference → an archive on this machine that it is imported from instead of a pull. */
  archives?: Readonly<Record<string, string>>;
  log: Logger;
}

export class ImageStore implements Images {
  readonly #catalogue: Catalogue;
  readonly #options: ImageStoreOptions;
  readonly #pulls = new Map<string, Pull>();
  readonly #spellings = new Map<string, Image>();
  readonly #archives = new Map<string, string>();
  readonly #held = new Map<string, number>();
  #free = MAX_PULLS;
  readonly #line: (() => void)[] = [];

  private constructor(catalogue: Catalogue, options: ImageStoreOptions) {
    this.#catalogue = catalogue;
    this.#options = options;
    for (const [ref, archive] of Object.entries(options.archives ?? {})) {
      this.#archives.set(canonical(parseReference(ref)), archive);
    }
  }

  static async open(options: ImageStoreOptions): Promise<ImageStore> {
    return new ImageStore(await Catalogue.open(options.dir), options);
  }

  get(ref: string): Image | undefined {
    const known = this.#spellings.get(ref);
    if (known !== undefined) return known;
    let stored: StoredImage | undefined;
    try {
      stored = this.#catalogue.byReference(canonical(parseReference(ref)));
    } catch {
      return undefined;
    }
    return stored === undefined ? undefined : this.#spell(ref, stored);
  }

  async ensure(ref: string, options: { signal?: AbortSignal; onProgress?: (p: PullProgress) => void }): Promise<Image> {
    const here = this.get(ref);
    if (here !== undefined) return here;
    const reference = parseReference(ref);
    const key = canonical(reference);
    const pull = this.#pulls.get(key) ?? this.#startPull(key, reference);
    pull.waiting += 1;
    if (options.onProgress !== undefined) pull.watchers.add(options.onProgress);
    try {
      const image = await orAbort(options.signal, pull.done);
      return { ...image, ref };
    } finally {
      pull.waiting -= 1;
      if (options.onProgress !== undefined) pull.watchers.delete(options.onProgress);
      if (pull.waiting === 0) pull.abort.abort(new ServiceError('cancelled', 'nobody waits for this pull any more'));
    }
  }

  /** The directories that make up an image, topmost first. */
  layersOf(image: Image): string[] {
    return [this.#catalogue.rootOf(image.id)];
  }

  /** A sandbox uses this image from now on: it is not removed until every `hold` was released. */
  hold(imageId: string): void {
    this.#held.set(imageId, (this.#held.get(imageId) ?? 0) + 1);
  }

  release(imageId: string): void {
    const left = (this.#held.get(imageId) ?? 1) - 1;
    if (left > 0) this.#held.set(imageId, left);
    else this.#held.delete(imageId);
  }

  list(): Promise<{ ref: string; id: string; sizeBytes: number; inUse: boolean }[]> {
    const all = [...this.#catalogue.references()].map(([ref, { id, sizeBytes }]) => {
      return { ref: familiar(ref), id, sizeBytes, inUse: this.#held.has(id) };
    });
    return Promise.resolve(all);
  }

  async remove(ref: string): Promise<void> {
    const key = canonical(parseReference(ref));
    const image = this.#catalogue.byReference(key);
    if (image === undefined) throw new ServiceError('image_not_found');
    if (this.#held.has(image.id)) throw new ServiceError('invalid_request', 'a sandbox uses this image');
    this.#spellings.clear();
    await this.#catalogue.remove(key);
  }

  /** @throws ServiceError `image_invalid`. */
  async importTar(ref: string, path: string, signal?: AbortSignal): Promise<Image> {
    const reference = parseReference(ref);
    const kind = await archiveKind(path, signal);
    return await this.#inTurn(signal ?? new AbortController().signal, async () => {
      const work = await this.#catalogue.workDir();
      try {
        if (kind !== 'rootfs') {
          await archiveToLayout(kind, path, join(work, 'layout'), signal);
          return await this.#take(reference, ref, work, signal);
        }
        const id = await digestOf(path);
        await unpackTar(path, join(work, 'made'), signal);
        return await this.#keep(reference, ref, id, { env: { PATH: DEFAULT_PATH }, workdir: '/', user: '' }, work);
      } finally {
        await rm(work, { recursive: true, force: true });
      }
    });
  }

  #startPull(key: string, reference: Reference): Pull {
    const watchers = new Set<(progress: PullProgress) => void>();
    const abort = new AbortController();
    const tell = (doneBytes: number, message: string): void => {
      for (const watcher of watchers) watcher({ image: familiar(key), doneBytes, totalBytes: 0, message });
    };
    const archive = this.#archives.get(key);
    const work =
      archive === undefined
        ? this.#inTurn(abort.signal, () => this.#pull(key, reference, abort.signal, tell))
        : this.importTar(key, archive, abort.signal);
    const done = work.finally(() => this.#pulls.delete(key));
    done.catch((error: unknown) => this.#options.log.warn({ err: error, image: key }, 'an image could not be pulled'));
    const pull: Pull = { done, watchers, waiting: 0, abort };
    this.#pulls.set(key, pull);
    return pull;
  }

  async #pull(
    key: string,
    reference: Reference,
    signal: AbortSignal,
    tell: (doneBytes: number, message: string) => void,
  ): Promise<Image> {
    const work = await this.#catalogue.workDir();
    try {
      await copyFromRegistry(reference, join(work, 'layout'), this.#options.registry, { signal, onProgress: tell });
      tell(0, 'unpacking');
      return await this.#take(reference, familiar(key), work, signal);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }

  /** Makes an image of the layout in a work directory. */
  async #take(reference: Reference, ref: string, work: string, signal: AbortSignal | undefined): Promise<Image> {
    const layout = join(work, 'layout');
    const { id, config } = await readLayout(layout);
    if (this.#catalogue.byId(id) === undefined) await unpackLayout(layout, join(work, 'made'), signal);
    return await this.#keep(reference, ref, id, config, work);
  }

  async #keep(reference: Reference, ref: string, id: string, config: ImageConfig, work: string): Promise<Image> {
    if (this.#catalogue.byId(id) === undefined) {
      const made = join(work, 'made');
      await this.#catalogue.add({ id, ...config, sizeBytes: await sizeOf(join(made, 'fs')) }, made);
    }
    const stored = this.#catalogue.byId(id);
    if (stored === undefined) throw new ServiceError('image_invalid');
    await this.#catalogue.name(canonical(reference), id);
    this.#spellings.clear();
    return this.#spell(ref, stored);
  }

  #spell(ref: string, { id, env, workdir, user }: StoredImage): Image {
    const image: Image = { ref, id, env, workdir, user };
    if (this.#spellings.size >= MAX_SPELLINGS) this.#spellings.clear();
    this.#spellings.set(ref, image);
    return image;
  }

  async #inTurn<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#line.push(resolve));
    try {
      signal.throwIfAborted();
      return await work();
    } finally {
      const next = this.#line.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}

const HASH_AND_SIZE_MS = 10 * 60_000;

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  return `sha256:${hash.digest('hex')}`;
}

async function sizeOf(dir: string): Promise<number> {
  const told = await runTool('du', ['--summarize', '--block-size=1', dir], { deadlineMs: HASH_AND_SIZE_MS });
  return Number.parseInt(told, 10);
}
