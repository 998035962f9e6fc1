/** Images of the node-native runtimes: unpacked once, shared read-only by all sandboxes, named by references. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Logger } from '../../src/lib/logger.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { EnsureOptions, Image, Images, PullProgress, Refreshed } from '../runtime/runtime.ts';
import { archiveKind, archiveToLayout } from './archive.ts';
import { beyondBudget, type Evictable } from './budget.ts';
import { Catalogue, type StoredImage } from './catalogue.ts';
import { MIN_FREE_BYTES, whileThereIsRoom } from './disk-room.ts';
import { DEFAULT_PATH, readLayout } from './layout.ts';
import { Pulls } from './pulls.ts';
import { canonical, familiar, parseReference, type Reference } from './reference.ts';
import { copyFromRegistry, registryHas, type RegistryConfig } from './registry.ts';
import { removeTree } from './remove-tree.ts';
import { runTool } from './run-tool.ts';
import { Turns, type Turn, type TurnOptions, type TurnRules } from './turns.ts';
import { unpackLayout, unpackTar } from './unpack.ts';

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
/** The least time between two looks, at the ends of sandboxes, for images that nobody needs any more. */
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

/** An image that was unpacked in a work directory, or exists already. */
type Made = Omit<StoredImage, 'sizeBytes'>;

/** By whom an image is wanted, and for how long. */
type Wanted = Omit<TurnOptions, 'tooSlow'>;

export class ImageStore implements Images {
  readonly #catalogue: Catalogue;
  readonly #options: ImageStoreOptions;
  readonly #pulls = new Pulls();
  readonly #turns: Turns;
  readonly #spellings = new Map<string, Image>();
  readonly #archives = new Map<string, string>();
  readonly #held = new Map<string, number>();
  /** Work directory → the existing image that makes unpacking there unnecessary. */
  readonly #kept = new Map<string, string>();
  #lookedAt = performance.now();

  private constructor(catalogue: Catalogue, options: ImageStoreOptions) {
    this.#catalogue = catalogue;
    this.#options = options;
    this.#turns = new Turns(options.turns ?? TURNS);
    for (const [ref, archive] of Object.entries(options.archives ?? {})) {
      this.#archives.set(canonical(parseReference(ref)), archive);
    }
  }

  static async open(options: ImageStoreOptions): Promise<ImageStore> {
    return new ImageStore(await Catalogue.open(options.dir), options);
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
    const reference = parseReference(ref);
    const before = this.get(ref);
    const settled = reference.digest !== null || this.#archives.has(canonical(reference));
    if (before !== undefined && settled) return { image: before, changed: false };
    const image = await this.#join(ref, options);
    return { image, changed: image.id !== before?.id };
  }

  async #join(ref: string, options: EnsureOptions): Promise<Image> {
    const reference = parseReference(ref);
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

  /** What the reference names here, if the registry has the same. */
  async #current(key: string, reference: Reference, wanted: Wanted): Promise<Image | undefined> {
    const here = this.#catalogue.byReference(key);
    if (here === undefined) return undefined;
    const same = await this.#turns.take({ ...wanted, tooSlow: tooSlow(key) }, ({ signal }) =>
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
    if (this.#held.has(image.id)) throw new ServiceError('invalid_request', 'the image is in use');
    this.#spellings.clear();
    await this.#catalogue.remove(key);
  }

  /** @throws ServiceError `image_invalid`, `capacity_exhausted`. */
  async importTar(ref: string, path: string, signal?: AbortSignal): Promise<Image> {
    const reference = parseReference(ref);
    if (reference.digest !== null) {
      throw new ServiceError('image_invalid', 'an archive cannot be imported under the digest of a manifest');
    }
    return await this.#make(reference, ref, { signal }, async (work, linked, turn) => {
      turn.brought(Infinity);
      const kind = await archiveKind(path, linked);
      if (kind !== 'rootfs') {
        await archiveToLayout(kind, path, join(work, 'layout'), linked);
        return await this.#unpack(work, linked);
      }
      const id = await digestOf(path, linked);
      if (!this.#keep(id, work)) await unpackTar(path, rootIn(work), linked);
      return { id, env: { PATH: DEFAULT_PATH }, workdir: '/', user: '' };
    });
  }

  async #bring(
    key: string,
    reference: Reference,
    wanted: Wanted,
    tell: (progress: PullProgress) => void,
  ): Promise<Image> {
    const archive = this.#archives.get(key);
    try {
      if (archive !== undefined) return await this.importTar(key, archive, wanted.signal);
      return await this.#make(reference, key, wanted, async (work, linked, turn) => {
        let doneBytes = 0;
        const onProgress = (bytes: number, message: string): void => {
          doneBytes = bytes;
          turn.brought(bytes);
          tell({ image: familiar(key), doneBytes, totalBytes: 0, message });
        };
        await copyFromRegistry(reference, join(work, 'layout'), this.#options.registry, { signal: linked, onProgress });
        onProgress(doneBytes, 'unpacking');
        return await this.#unpack(work, linked);
      });
    } catch (error) {
      this.#options.log.warn({ err: error, image: key }, 'an image could not be brought here');
      throw error;
    }
  }

  /** Unpacks the layout in a work directory into an image. */
  async #unpack(work: string, signal: AbortSignal): Promise<Made> {
    const layout = join(work, 'layout');
    const { id, config } = await readLayout(layout);
    if (!this.#keep(id, work)) await unpackLayout(layout, rootIn(work), signal);
    return { id, ...config };
  }

  /** Whether the image exists already; if so, keeps it until the work of this directory is done. */
  #keep(id: string, work: string): boolean {
    if (this.#catalogue.byId(id) === undefined) return false;
    this.hold(id);
    this.#kept.set(work, id);
    return true;
  }

  /** Adds the image that `make` builds in a work directory of its own; nothing of it is left if it fails. */
  async #make(
    reference: Reference,
    ref: string,
    wanted: Wanted,
    make: (work: string, signal: AbortSignal, turn: Turn) => Promise<Made>,
  ): Promise<Image> {
    return await this.#turns.take({ ...wanted, tooSlow: tooSlow(ref) }, async (turn) => {
      const work = await this.#catalogue.workDir();
      try {
        const made = await whileThereIsRoom(work, MIN_FREE_BYTES, turn.signal, (linked) => make(work, linked, turn));
        const sizeBytes = this.#catalogue.byId(made.id)?.sizeBytes ?? (await sizeOf(rootIn(work)));
        const image: StoredImage = { ...made, sizeBytes };
        if (this.#catalogue.byId(made.id) === undefined) await toDisk(work, turn.signal);
        await this.#catalogue.add(canonical(reference), image, join(work, 'made'));
        this.#spellings.clear();
        return this.#spell(ref, image);
      } finally {
        const kept = this.#kept.get(work);
        this.#kept.delete(work);
        if (kept !== undefined) this.release(kept);
        await removeTree(work).catch((error: unknown) => {
          this.#options.log.warn({ err: error }, 'what a pull left could not be removed');
        });
        await this.#makeRoom();
      }
    });
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
    // All at once: none of them can be found from here on, so that no sandbox comes to use one that waits its turn.
    const drops = evicted.map(async (id) => {
      log.info({ image: id }, 'an image that nobody uses makes room');
      await this.#catalogue.drop(id).catch((error: unknown) => {
        log.warn({ err: error, image: id }, 'the files of an image could not be removed');
      });
    });
    await Promise.all(drops);
  }

  #lookUp(ref: string): Image | undefined {
    try {
      const stored = this.#catalogue.byReference(canonical(parseReference(ref)));
      return stored === undefined ? undefined : this.#spell(ref, stored);
    } catch {
      return undefined;
    }
  }

  #spell(ref: string, { id, env, workdir, user }: StoredImage): Image {
    const image: Image = { ref, id, env, workdir, user };
    if (this.#spellings.size >= MAX_SPELLINGS) this.#spellings.clear();
    this.#spellings.set(ref, image);
    return image;
  }
}

const tooSlow = (ref: string) => (): Error =>
  new ServiceError('image_unreachable', `${ref} comes too slowly while others wait`);

const rootIn = (work: string): string => join(work, 'made', 'fs');

const HASH_AND_SIZE_MS = 10 * 60_000;
const TO_DISK_MS = 10 * 60_000;

/** Syncs the image, so that after a power cut no file of it is silently empty. */
async function toDisk(dir: string, signal: AbortSignal): Promise<void> {
  await runTool('sync', ['--file-system', dir], { deadlineMs: TO_DISK_MS, signal });
}

async function digestOf(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash, { signal });
  return `sha256:${hash.digest('hex')}`;
}

async function sizeOf(dir: string): Promise<number> {
  const told = await runTool('du', ['--summarize', '--block-size=1', dir], { deadlineMs: HASH_AND_SIZE_MS });
  return Number.parseInt(told, 10);
}
