/**
 * A container's box is its directory on disk: its bundle, its overlay upper dir, and a record of its process. A box
 * without a record was never started. One with an unreadable record may be running.
 */
import { appendFileSync, lstatSync, readdirSync } from 'node:fs';
import { chmod, mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { silent, type Logger } from '../../../src/lib/logger.ts';
import { isMissing, readIfThereSync, writeWholeSync } from '../../../src/lib/whole-file.ts';
import { spreadSubdirectories } from '../../spread-directories.ts';
import type { Limits } from '../runtime.ts';
import type { ProcessId } from './pids.ts';
import { DirectoryCleaner } from './directory-cleaner.ts';

const State = z.object({
  pid: z.number().int().positive(),
  startTime: z.number(),
  /** Path of its cgroup, below the mount point of each hierarchy. */
  cgroup: z.string(),
  /** What started it. */
  by: z.enum(['runtime', 'nursery']),
});

export interface Box extends z.infer<typeof State> {
  readonly id: string;
  /** Id of the image it was claimed with. */
  imageId: string | null;
  /** The limits of its cgroup, if set by this agent. */
  limits: Limits | null;
}

const CONTAINER_ID = /^[a-z0-9-]{1,64}$/;

export class Boxes {
  readonly #dir: string;
  readonly #grave: string;
  readonly #cleaner: DirectoryCleaner;
  readonly #log: Logger;
  readonly #known = new Map<string, Box>();
  /** Boxes already logged as unreadable. */
  readonly #unreadable = new Set<string>();

  private constructor(dir: string, log: Logger) {
    this.#log = log;
    this.#dir = join(dir, 'boxes');
    this.#grave = join(dir, 'grave');
    this.#cleaner = new DirectoryCleaner(this.#grave, log);
  }

  static async open(dir: string, log: Logger = silent): Promise<Boxes> {
    const boxes = new Boxes(dir, log);
    // A sandbox may contain setuid programs: keep the node's other users out.
    for (const path of [boxes.#dir, boxes.#grave]) await mkdir(path, { recursive: true, mode: 0o700 });
    await chmod(boxes.#dir, 0o700);
    await spreadSubdirectories([boxes.#dir], log);
    if (readdirSync(boxes.#grave).length > 0) boxes.#cleaner.clean();
    return boxes;
  }

  dirOf(id: string): string {
    return join(this.#dir, id);
  }

  /**
   * Creates a new container's directories: `upper` becomes the root of its file system. Returns the box's directory. The
   * file for its image is made now, since making a file costs several times a write (docs/adr/0003).
   */
  async make(id: string): Promise<string> {
    const dir = this.dirOf(id);
    await mkdir(dir, { mode: 0o700 });
    await mkdir(join(dir, 'upper'), { mode: 0o755 });
    await mkdir(join(dir, 'work'), { mode: 0o700 });
    await writeFile(join(dir, 'image'), '', { mode: 0o600 });
    return dir;
  }

  /** `imageId`: for a container that runs on an image from its start. */
  started(id: string, process: ProcessId, more: { cgroup: string; by: Box['by']; imageId?: string }): Box {
    const { cgroup, by, imageId } = more;
    const state: z.infer<typeof State> = { ...process, cgroup, by };
    const box: Box = { id, ...state, imageId: null, limits: null };
    // First, so that a later agent that finds the process knows which image not to remove.
    if (imageId !== undefined) this.claimed(box, imageId);
    writeWholeSync(join(this.dirOf(id), 'state.json'), JSON.stringify(state));
    this.#known.set(id, box);
    return box;
  }

  claimed(box: Box, imageId: string): void {
    box.imageId = imageId;
    // So few bytes are written whole or not at all.
    appendFileSync(join(this.dirOf(box.id), 'image'), imageId, { mode: 0o600 });
  }

  /** Undefined if there is none, if it was never started, or if it cannot be read now; see `wasStarted`. */
  get(id: string): Box | undefined {
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    if (!CONTAINER_ID.test(id)) return undefined;
    try {
      const box = this.#read(id);
      if (box !== undefined) this.#known.set(id, box);
      return box;
    } catch (error) {
      if (!this.#unreadable.has(id))
        this.#log.error({ err: error, container: id }, 'the record of a container cannot be read: it is left alone');
      this.#unreadable.add(id);
      return undefined;
    }
  }

  /** Whether it has a record, readable or not. */
  wasStarted(id: string): boolean {
    if (this.#known.has(id)) return true;
    try {
      lstatSync(join(this.dirOf(id), 'state.json'));
      return true;
    } catch (error) {
      return !isMissing(error);
    }
  }

  /** Ids of all boxes with a directory. */
  ids(): string[] {
    return readdirSync(this.#dir);
  }

  /** Forgets the box at once; its files are removed later. */
  async remove(id: string): Promise<void> {
    this.#known.delete(id);
    this.#unreadable.delete(id);
    try {
      await rename(this.dirOf(id), join(this.#grave, `${id}-${crypto.randomUUID()}`));
    } catch (error) {
      if (isMissing(error)) return;
      throw error;
    }
    this.#cleaner.clean();
  }

  /** Resolves once no file of a removed container is left. */
  async allRemoved(): Promise<void> {
    await this.#cleaner.close();
  }

  /** Undefined without a record. @throws Error if the record cannot be read, or was written by another release. */
  #read(id: string): Box | undefined {
    const text = readIfThereSync(join(this.dirOf(id), 'state.json'));
    if (text === undefined) return undefined;
    const state = State.parse(JSON.parse(text));
    // Missing or empty: not claimed yet.
    const imageId = readIfThereSync(join(this.dirOf(id), 'image')) || null;
    return { id, ...state, imageId, limits: null };
  }
}
