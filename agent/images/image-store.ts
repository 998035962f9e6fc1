/** Images of the node-native runtimes: unpacked once, shared read-only by all sandboxes, named by references. */
import type { Logger } from '../../src/lib/logger.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import {
  canonical,
  familiar,
  imageReference,
  isImageId,
  type ImageReference,
} from '../../src/protocol/image-reference.ts';
import type { EnsureOptions, Image, Images, PullProgress, Refreshed } from '../runtime/runtime.ts';
import { beyondBudget, type Evictable } from './budget.ts';
import { Builder, tooSlow, type Wanted } from './builder.ts';
import { Catalogue, type StoredImage } from './catalogue.ts';
import { Pulls } from './pulls.ts';
import { registryHas, type RegistryConfig } from './registry.ts';
import { Turns, type TurnRules } from './turns.ts';

/** For pulls. Four keep a node busy; a slow one beyond that costs only a waiting process. */
const TURNS: TurnRules = {
  atOnce: 4,
  aside: 16,
  slowBytesPerSecond: 256 * 1024,
  slowMs: 10_000,
  longMs: 60_000,
};
/** Limit of cached spellings of references, since clients choose them. */
const MAX_SPELLINGS = 10_000;
/** Long enough for a sandbox whose image was looked up to claim it. */
const GRACE_MS = 15 * 60_000;
/** The least time between two passes for unused images, made when sandboxes end. */
const LOOK_EVERY_MS = 60_000;

export interface ImageStoreOptions {
  dir: string;
  registry: RegistryConfig;
  /** Reference → an archive on this machine to import in place of a pull. */
  archives?: Readonly<Record<string, string>>;
  /** Unused images are removed while all together take more than this. Default: no limit. */
  budgetBytes?: number | undefined;
  /** For this long after its last use, an image is not removed for the budget. */
  graceMs?: number | undefined;
  /** Overrides the default turns; for tests. */
  turns?: TurnRules;
  log: Logger;
}

export class ImageStore implements Images {
  readonly #catalogue: Catalogue;
  readonly #options: ImageStoreOptions;
  readonly #pulls = new Pulls();
  readonly #turns: Turns;
  readonly #builder: Builder;
  readonly #spellings = new Map<string, Image>();
  readonly #archives = new Map<string, string>();
  readonly #held = new Map<string, number>();
  #lookedAt = performance.now();

  private constructor(catalogue: Catalogue, options: ImageStoreOptions) {
    this.#catalogue = catalogue;
    this.#options = options;
    this.#turns = new Turns(options.turns ?? TURNS);
    this.#builder = new Builder({
      catalogue,
      turns: this.#turns,
      registry: options.registry,
      users: this,
      named: () => this.#spellings.clear(),
      log: options.log,
    });
    for (const [ref, archive] of Object.entries(options.archives ?? {})) {
      this.#archives.set(canonical(imageReference(ref)), archive);
    }
  }

  static async open(options: ImageStoreOptions): Promise<ImageStore> {
    return new ImageStore(await Catalogue.open(options.dir, options.log), options);
  }

  get(ref: string): Image | undefined {
    const image = this.#spellings.get(ref) ?? this.#lookUp(ref);
    if (image !== undefined) this.#catalogue.used(image.id);
    return image;
  }

  async ensure(ref: string, options: EnsureOptions): Promise<Image> {
    return this.get(ref) ?? (await this.#join(ref, options));
  }

  async refresh(ref: string, options: EnsureOptions): Promise<Refreshed> {
    const reference = imageReference(ref);
    const before = this.get(ref);
    const settled = reference.digest !== null || this.#archives.has(canonical(reference));
    if (before !== undefined && settled) return { image: before, changed: false };
    const image = await this.#join(ref, options);
    return { image, changed: image.id !== before?.id };
  }

  async #join(ref: string, options: EnsureOptions): Promise<Image> {
    const reference = imageReference(ref);
    const key = canonical(reference);
    const image = await this.#pulls.join(
      key,
      async (signal, tell, tenants) => {
        const wanted = { signal, tenants };
        return (await this.#current(key, reference, wanted)) ?? (await this.#bring(key, reference, wanted, tell));
      },
      options,
    );
    return { ...image, ref };
  }

  /** The image that the reference names here, if it is still the registry's. */
  async #current(key: string, reference: ImageReference, wanted: Wanted): Promise<Image | undefined> {
    const here = this.#catalogue.byReference(key);
    if (here === undefined) return undefined;
    const same = await this.#turns.take({ ...wanted, tooSlow: tooSlow(reference) }, ({ signal }) =>
      registryHas(reference, here.id, this.#options.registry, signal),
    );
    // It may have been removed meanwhile.
    return same && this.#catalogue.byReference(key) === here ? this.get(key) : undefined;
  }

  /** The directories that make up an image, topmost first. @throws ServiceError `image_not_found` if it was removed. */
  layersOf(image: Image): string[] {
    if (this.#catalogue.byId(image.id) === undefined)
      throw new ServiceError('image_not_found', 'the image was removed');
    return [this.#catalogue.rootOf(image.id)];
  }

  /** Marks the image as used by a sandbox: it is not removed until every `hold` is released. */
  hold(imageId: string): void {
    this.#held.set(imageId, (this.#held.get(imageId) ?? 0) + 1);
  }

  release(imageId: string): void {
    const left = (this.#held.get(imageId) ?? 1) - 1;
    if (left > 0) this.#held.set(imageId, left);
    else this.#held.delete(imageId);
    this.#catalogue.used(imageId);
    void this.#catalogue.noteUse(imageId);
    if (performance.now() - this.#lookedAt > LOOK_EVERY_MS) void this.#makeRoom();
  }

  /** Images without a name last, by their ids. */
  list(): Promise<{ ref: string; id: string; sizeBytes: number; inUse: boolean }[]> {
    const named = [...this.#catalogue.references()].map(([ref, image]) => ({
      ref: familiar(imageReference(ref)),
      image,
    }));
    const nameless = [...this.#catalogue.images()].filter((image) => !image.named);
    const all = [...named, ...nameless.map((image) => ({ ref: image.id, image }))];
    return Promise.resolve(
      all.map(({ ref, image: { id, sizeBytes } }) => ({ ref, id, sizeBytes, inUse: this.#held.has(id) })),
    );
  }

  async remove(ref: string): Promise<void> {
    const key = isImageId(ref) ? null : canonical(imageReference(ref));
    const nameless = [...this.#catalogue.images()].find(({ id, named }) => id === ref && !named);
    const image = key === null ? nameless : this.#catalogue.byReference(key);
    if (image === undefined) throw new ServiceError('image_not_found');
    if (this.#held.has(image.id)) throw new ServiceError('invalid_request', 'the image is in use');
    this.#spellings.clear();
    if (key === null) await this.#catalogue.drop(image.id);
    else await this.#catalogue.remove(key);
  }

  /** @throws ServiceError `image_invalid`, `capacity_exhausted`. */
  async importTar(ref: string, path: string, signal?: AbortSignal): Promise<Image> {
    const reference = imageReference(ref);
    if (reference.digest !== null) {
      throw new ServiceError('image_invalid', 'an archive cannot be imported under the digest of a manifest');
    }
    return await this.#built(ref, this.#builder.fromArchive(reference, path, { signal }));
  }

  async #bring(
    key: string,
    reference: ImageReference,
    wanted: Wanted,
    tell: (progress: PullProgress) => void,
  ): Promise<Image> {
    const archive = this.#archives.get(key);
    try {
      if (archive !== undefined) return await this.importTar(key, archive, wanted.signal);
      return await this.#built(key, this.#builder.fromRegistry(reference, wanted, tell));
    } catch (error) {
      this.#options.log.warn({ err: error, image: key }, 'an image could not be pulled or imported');
      throw error;
    }
  }

  /** Waits for a build, then makes room: an image takes up space, and a failed build frees some. */
  async #built(ref: string, building: Promise<StoredImage>): Promise<Image> {
    try {
      // Not remembered under its name, which may have been removed or moved since: `get` looks it up.
      return named(ref, await building);
    } finally {
      await this.#makeRoom();
    }
  }

  /**
   * Removes images without a name, and the least recently used ones beyond the budget. Never throws: the operation
   * before it has succeeded, or has an error of its own.
   */
  async #makeRoom(): Promise<void> {
    const { budgetBytes = Infinity, graceMs = GRACE_MS, log } = this.#options;
    this.#lookedAt = performance.now();
    const pinned = new Set([...this.#archives.keys()].map((key) => this.#catalogue.byReference(key)?.id));
    const before = Date.now() - graceMs;
    const keep = ({ id, usedAtMs }: Evictable): boolean => this.#held.has(id) || pinned.has(id) || usedAtMs > before;
    const all = [...this.#catalogue.images()];
    const nameless = all.filter((image) => !image.named && !keep(image));
    const rest = all.filter((image) => !nameless.includes(image));
    const evicted = [...nameless.map(({ id }) => id), ...beyondBudget(rest, budgetBytes, keep)];
    if (evicted.length > 0) this.#spellings.clear();
    // All at once: from here on none of them can be found, so no sandbox can start on one that is still waiting to be
    // dropped.
    const drops = evicted.map(async (id) => {
      log.info({ image: id }, 'removing an unused image');
      await this.#catalogue.drop(id).catch((error: unknown) => {
        log.warn({ err: error, image: id }, 'the files of an image could not be removed');
      });
    });
    await Promise.all(drops);
  }

  #lookUp(ref: string): Image | undefined {
    try {
      const stored = this.#catalogue.byReference(canonical(imageReference(ref)));
      return stored === undefined ? undefined : this.#spell(ref, stored);
    } catch (error) {
      // Not a valid reference, so no image has that name.
      if (error instanceof ServiceError) return undefined;
      throw error;
    }
  }

  #spell(ref: string, stored: StoredImage): Image {
    const image = named(ref, stored);
    if (this.#spellings.size >= MAX_SPELLINGS) this.#spellings.clear();
    this.#spellings.set(ref, image);
    return image;
  }
}

const named = (ref: string, { id, env, workdir, user }: StoredImage): Image => ({ ref, id, env, workdir, user });
