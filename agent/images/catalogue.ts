/** What is known of the images on disk. One small file per image and one for all references; both survive a crash. */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import type { ImageConfig } from './layout.ts';

const Stored = z.object({
  id: z.string().regex(/^sha256:[a-f0-9]{64}$/),
  env: z.record(z.string(), z.string()),
  workdir: z.string(),
  user: z.string(),
  sizeBytes: z.number(),
});
export type StoredImage = z.infer<typeof Stored> & ImageConfig;

const References = z.record(z.string(), z.string());

/**
 * The directory: `images/<hex>/{image.json,fs}`, `references.json`, and `tmp/` for what is being made. An image is made
 * in `tmp` and renamed, so that one that is in `images` is whole.
 */
export class Catalogue {
  readonly #dir: string;
  readonly #images = new Map<string, StoredImage>();
  readonly #references = new Map<string, string>();
  #saving: Promise<void> = Promise.resolve();

  private constructor(dir: string) {
    this.#dir = dir;
  }

  static async open(dir: string): Promise<Catalogue> {
    const catalogue = new Catalogue(dir);
    await rm(join(dir, 'tmp'), { recursive: true, force: true });
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

  /** The root file system of an image. */
  rootOf(id: string): string {
    return join(this.#dir, 'images', hexOf(id), 'fs');
  }

  async workDir(): Promise<string> {
    const dir = join(this.#dir, 'tmp', crypto.randomUUID());
    await mkdir(dir, { mode: 0o700 });
    return dir;
  }

  /** Takes over `made`, which holds `fs`, as this image; drops it when the image is here already. */
  async add(image: StoredImage, made: string): Promise<void> {
    if (this.#images.has(image.id)) return;
    await writeFile(join(made, 'image.json'), JSON.stringify(image), { mode: 0o600 });
    await rename(made, join(this.#dir, 'images', hexOf(image.id)));
    this.#images.set(image.id, image);
  }

  async name(reference: string, id: string): Promise<void> {
    this.#references.set(reference, id);
    await this.#save();
  }

  /** Forgets the reference, and the image with it when no other reference is left. */
  async remove(reference: string): Promise<void> {
    const id = this.#references.get(reference);
    this.#references.delete(reference);
    await this.#save();
    if (id === undefined || [...this.#references.values()].includes(id)) return;
    this.#images.delete(id);
    const grave = join(this.#dir, 'tmp', crypto.randomUUID());
    await rename(join(this.#dir, 'images', hexOf(id)), grave);
    await rm(grave, { recursive: true, force: true });
  }

  async #load(name: string): Promise<void> {
    const image = await readJson(join(this.#dir, 'images', name, 'image.json'), Stored);
    if (image !== undefined && hexOf(image.id) === name) this.#images.set(image.id, image);
    else await rm(join(this.#dir, 'images', name), { recursive: true, force: true });
  }

  #save(): Promise<void> {
    const save = async (): Promise<void> => {
      const path = join(this.#dir, 'references.json');
      await writeFile(`${path}.new`, JSON.stringify(Object.fromEntries(this.#references)), { mode: 0o600 });
      await rename(`${path}.new`, path);
    };
    this.#saving = this.#saving.then(save, save);
    return this.#saving;
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
