/** The index of images on disk: one small file per image and one for all references. Both survive a crash. */
import { mkdir, readdir, readFile, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { writeWhole } from '../../src/lib/whole-file.ts';
import { stringMap } from '../../src/protocol/string-map.ts';
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

/**
 * The directory holds `images/<hex>/{image.json,fs}`, `references.json`, and `tmp/` for what is being built or removed.
 * An image is built in `tmp` and renamed, so whatever is in `images` is complete.
 */
export class Catalogue {
  readonly #dir: string;
  readonly #images = new Map<string, StoredImage>();
  readonly #references = new Map<string, string>();
  readonly #usedAtMs = new Map<string, number>();
  /** The last change on disk; changes run one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(dir: string) {
    this.#dir = dir;
  }

  static async open(dir: string): Promise<Catalogue> {
    const catalogue = new Catalogue(dir);
    // A tool of a killed agent may still be writing there. What remains is removed at the next start.
    await removeTree(join(dir, 'tmp')).catch(() => undefined);
    await mkdir(join(dir, 'tmp'), { recursive: true, mode: 0o700 });
    await mkdir(join(dir, 'images'), { recursive: true, mode: 0o700 });
    for (const name of await readdir(join(dir, 'images'))) await catalogue.#load(name);
    const references = await readJson(join(dir, 'references.json'), References);
    for (const [ref, id] of Object.entries(references ?? {})) {
      if (catalogue.#images.has(id)) catalogue.#references.set(ref, id);
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

  /** Includes images without a name: a sandbox may use one whose name has moved to another image. */
  *images(): Generator<StoredImage & { usedAtMs: number; named: boolean }> {
    const named = new Set(this.#references.values());
    for (const image of this.#images.values()) {
      yield { ...image, usedAtMs: this.#usedAtMs.get(image.id) ?? 0, named: named.has(image.id) };
    }
  }

  /** Marks an image as used now: the least recently used one is removed first. */
  used(id: string): void {
    this.#usedAtMs.set(id, Date.now());
  }

  /** Saves the time of use for the next agent. */
  async noteUse(id: string): Promise<void> {
    const at = new Date(this.#usedAtMs.get(id) ?? 0);
    await utimes(join(this.#dirOf(id), 'image.json'), at, at).catch(() => undefined);
  }

  /** The root file system of an image. */
  rootOf(id: string): string {
    return join(this.#dirOf(id), 'fs');
  }

  /** A new directory to build an image in. The caller removes it with `removeTree`. */
  async workDir(): Promise<string> {
    const dir = join(this.#dir, 'tmp', crypto.randomUUID());
    await mkdir(dir, { mode: 0o700 });
    return dir;
  }

  /**
   * Names an image. Takes over `made`, which holds its `fs`, unless the image exists already. If naming fails, the
   * image is removed again.
   * @throws Error if it is neither there nor made, or the disk is full.
   */
  async add(reference: string, image: StoredImage, made: string): Promise<void> {
    try {
      await this.#inTurn(() => this.#add(reference, image, made));
    } catch (error) {
      if (![...this.#references.values()].includes(image.id)) await this.drop(image.id).catch(() => undefined);
      throw error;
    }
  }

  async #add(reference: string, image: StoredImage, made: string): Promise<void> {
    if (!this.#images.has(image.id)) {
      await writeFile(join(made, 'image.json'), JSON.stringify(image), { mode: 0o600, flag: 'wx' });
      await rename(made, this.#dirOf(image.id));
      this.#images.set(image.id, image);
    }
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

  /** Removes the reference, and the image if no other reference is left. */
  async remove(reference: string): Promise<void> {
    const id = this.#references.get(reference);
    if (id === undefined) return;
    this.#references.delete(reference);
    if (![...this.#references.values()].includes(id)) return await this.drop(id);
    await this.#inTurn(() => this.#save());
  }

  /** Removes an image and all its references. From the call on, it cannot be found. */
  async drop(id: string): Promise<void> {
    for (const [reference, named] of this.#references) if (named === id) this.#references.delete(reference);
    if (!this.#images.delete(id)) return;
    this.#usedAtMs.delete(id);
    const grave = join(this.#dir, 'tmp', crypto.randomUUID());
    // First, since a full disk may refuse the references. The next agent ignores references to missing images.
    await this.#inTurn(() => rename(this.#dirOf(id), grave));
    await removeTree(grave);
    await this.#inTurn(() => this.#save());
  }

  #dirOf(id: string): string {
    return join(this.#dir, 'images', hexOf(id));
  }

  async #load(name: string): Promise<void> {
    const path = join(this.#dir, 'images', name, 'image.json');
    const image = await readJson(path, Stored);
    if (image === undefined || hexOf(image.id) !== name) return await removeTree(join(this.#dir, 'images', name));
    this.#images.set(image.id, image);
    this.#usedAtMs.set(image.id, (await stat(path)).mtimeMs);
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

async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  try {
    return schema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined;
  }
}
