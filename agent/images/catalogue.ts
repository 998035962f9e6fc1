/** The on-disk index of images: one small file per image, and one for all references. Both survive a crash. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import type { Logger } from '../../src/lib/logger.ts';
import { makeDirectory } from '../../src/lib/make-directory.ts';
import { parseJson } from '../../src/lib/parse-json.ts';
import { readIfThere, writeWhole } from '../../src/lib/whole-file.ts';
import { canonical, parseImageReference } from '../../src/protocol/image-reference.ts';
import { stringMap } from '../../src/protocol/string-map.ts';
import { retryTransient } from '../sandboxes/transient-errors.ts';
import { spreadSubdirectories } from '../spread-directories.ts';
import type { ImageConfig } from './layout.ts';
import { removeTree } from './remove-tree.ts';

const Stored = z.object({
  id: z.string().regex(/^sha256:[a-f0-9]{64}$/),
  env: stringMap(z.string(), z.string()),
  workdir: z.string(),
  user: z.string(),
  sizeBytes: z.number(),
});
export type StoredImage = z.infer<typeof Stored> & ImageConfig;

const References = z.record(z.string(), z.string());

/** Directory names: the content digests. */
const HEX = /^[a-f0-9]{64}$/;

/**
 * The directory holds `images/<hex>/{image.json,fs}`, `references.json`, and `tmp/` for images being built or removed.
 * An image is built in `tmp` and then renamed, so everything in `images` is complete.
 */
export class Catalogue {
  readonly #dir: string;
  readonly #images = new Map<string, StoredImage>();
  readonly #references = new Map<string, string>();
  readonly #usedAtMs = new Map<string, number>();
  /**
   * Ids of images whose description cannot be read (sandboxes may be running on them, so they are left alone), or that
   * could not be removed. They cannot be found until they are added again.
   */
  readonly #hidden = new Set<string>();
  /** Ids of images that cannot be found any more, but are moved away only when it is that change's turn. */
  readonly #leaving = new Set<string>();
  /** The latest change to the disk; changes are serialised. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(dir: string) {
    this.#dir = dir;
  }

  /** @throws Error if the directory or the image names cannot be read. */
  static async open(dir: string, log: Logger): Promise<Catalogue> {
    const catalogue = new Catalogue(dir);
    // A tool started by a killed agent may still be writing there. Leftovers are removed at the next start.
    await removeTree(join(dir, 'tmp')).catch(() => undefined);
    for (const name of ['images', 'tmp']) makeDirectory(join(dir, name), 0o700);
    await spreadSubdirectories([join(dir, 'tmp')], log);
    await catalogue.#loadAll(log);
    const references = (await retryTransient(() => readIfThere(join(dir, 'references.json')))) ?? '{}';
    const named = parseJson(References, references);
    if (named === undefined) log.error({ dir }, 'references.json is unreadable: the names of images are lost');
    for (const [ref, id] of Object.entries(named ?? {})) {
      const reference = parseImageReference(ref);
      if (reference === undefined || !(catalogue.#images.has(id) || catalogue.#hidden.has(id))) continue;
      catalogue.#references.set(canonical(reference), id);
    }
    return catalogue;
  }

  byReference(reference: string): StoredImage | undefined {
    const id = this.#references.get(reference);
    return id === undefined ? undefined : this.#images.get(id);
  }

  byId(id: string): StoredImage | undefined {
    return this.#images.get(id);
  }

  *references(): Generator<[string, StoredImage]> {
    for (const [ref, id] of this.#references) {
      const image = this.#images.get(id);
      if (image !== undefined) yield [ref, image];
    }
  }

  /** Includes unnamed images: a sandbox may use one whose name has moved to another image. */
  *images(): Generator<StoredImage & { usedAtMs: number; named: boolean }> {
    const named = new Set(this.#references.values());
    for (const image of this.#images.values()) {
      yield { ...image, usedAtMs: this.#usedAtMs.get(image.id) ?? 0, named: named.has(image.id) };
    }
  }

  /** Marks an image as used now; the least recently used is evicted first. */
  used(id: string): void {
    this.#usedAtMs.set(id, Date.now());
  }

  /** Saves the time of last use for the next agent. */
  async noteUse(id: string): Promise<void> {
    const at = new Date(this.#usedAtMs.get(id) ?? 0);
    await utimes(join(this.#dirOf(id), 'image.json'), at, at).catch(() => undefined);
  }

  /** The image's root file system. */
  rootOf(id: string): string {
    return join(this.#dirOf(id), 'fs');
  }

  /** Creates a directory to build an image in. The caller removes it with `removeTree`. */
  async workDir(): Promise<string> {
    const dir = join(this.#dir, 'tmp', crypto.randomUUID());
    await mkdir(dir, { mode: 0o700 });
    return dir;
  }

  /**
   * Names an image. Moves `made`, which contains its `fs`, into place unless the image already exists. If naming fails,
   * a newly added image is removed again.
   * @throws Error if the image neither exists nor was made, or the disk is full.
   */
  async add(reference: string, image: StoredImage, made: string): Promise<void> {
    let isNew = false;
    try {
      await this.#inTurn(async () => {
        isNew = !this.#images.has(image.id) && !this.#hidden.has(image.id);
        await this.#add(reference, image, made);
      });
    } catch (error) {
      const named = [...this.#references.values()].includes(image.id);
      if (isNew && !named) await this.drop(image.id).catch(() => undefined);
      throw error;
    }
  }

  async #add(reference: string, image: StoredImage, made: string): Promise<void> {
    if (!this.#images.has(image.id)) await this.#place(image, made);
    this.used(image.id);
    const before = this.#references.get(reference);
    this.#references.set(reference, image.id);
    try {
      await this.#save();
    } catch (error) {
      if (before === undefined) this.#references.delete(reference);
      else this.#references.set(reference, before);
      throw error;
    }
  }

  async #place(image: StoredImage, made: string): Promise<void> {
    const text = JSON.stringify(image);
    if (this.#hidden.has(image.id)) {
      // The image is complete and sandboxes may be running on it; only its description is missing.
      await writeWhole(join(this.#dirOf(image.id), 'image.json'), text);
      this.#hidden.delete(image.id);
    } else if (!this.#leaving.delete(image.id)) {
      await writeFile(join(made, 'image.json'), text, { mode: 0o600, flag: 'wx' });
      await rename(made, this.#dirOf(image.id));
    }
    this.#images.set(image.id, image);
  }

  /** Removes the reference, and the image too if that was its last reference. */
  async remove(reference: string): Promise<void> {
    const id = this.#references.get(reference);
    if (id === undefined) return;
    this.#references.delete(reference);
    if (![...this.#references.values()].includes(id)) return await this.drop(id);
    await this.#inTurn(() => this.#save());
  }

  /** Removes an image and all its references. It cannot be found from the moment of the call. */
  async drop(id: string): Promise<void> {
    for (const [reference, named] of this.#references) if (named === id) this.#references.delete(reference);
    if (!this.#images.delete(id)) return;
    this.#usedAtMs.delete(id);
    this.#leaving.add(id);
    const grave = join(this.#dir, 'tmp', crypto.randomUUID());
    // First, since a full disk may prevent writing the references. The next agent ignores references to missing images.
    try {
      await this.#inTurn(async () => {
        // A change before this one may have brought it back.
        if (this.#leaving.delete(id)) await rename(this.#dirOf(id), grave);
      });
    } catch (error) {
      // It is complete but cannot be found: an image that is stored under its id again takes it over.
      if (existsSync(this.#dirOf(id))) this.#hidden.add(id);
      throw error;
    }
    await removeTree(grave);
    await this.#inTurn(() => this.#save());
  }

  #dirOf(id: string): string {
    return join(this.#dir, 'images', hexOf(id));
  }

  async #loadAll(log: Logger): Promise<void> {
    const names = new Set(await readdir(join(this.#dir, 'images')));
    let failed: { name: string; error: unknown }[] = [];
    const load = async (): Promise<void> => {
      failed = [];
      for (const name of names) {
        try {
          await this.#load(name);
          names.delete(name);
        } catch (error) {
          failed.push({ name, error });
        }
      }
      if (failed.length > 0) throw failed[0]?.error;
    };
    await retryTransient(load).catch(() => {
      for (const { name, error } of failed) {
        this.#hidden.add(`sha256:${name}`);
        log.error({ err: error, image: `sha256:${name}` }, 'the record of an image is unreadable: image ignored');
      }
    });
  }

  /**
   * Loads an image's description, or removes the directory if it never became an image: the description is complete
   * before the image is put in place, and only a power cut can lose it, which ends the sandboxes too.
   * @throws Error if it cannot be read, or was written by another release.
   */
  async #load(name: string): Promise<void> {
    const path = join(this.#dir, 'images', name, 'image.json');
    const described = HEX.test(name) ? parseJson(z.unknown(), (await readIfThere(path)) ?? '') : undefined;
    if (described === undefined) return await removeTree(join(this.#dir, 'images', name));
    const image = Stored.parse(described);
    if (hexOf(image.id) !== name) return await removeTree(join(this.#dir, 'images', name));
    const { mtimeMs } = await stat(path);
    this.#images.set(image.id, image);
    this.#usedAtMs.set(image.id, mtimeMs);
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work, work);
    this.#last = turn.catch(() => undefined);
    return await turn;
  }

  async #save(): Promise<void> {
    const path = join(this.#dir, 'references.json');
    await writeWhole(path, JSON.stringify(Object.fromEntries(this.#references)));
  }
}

const hexOf = (id: string): string => id.slice('sha256:'.length);
