/** Empty file systems to copy, one per size: copying such a sparse file takes almost no time, creating one does. */
import { mkdir, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from '../../run-tool.ts';

const MAKE_MS = 60_000;
const MEBIBYTE = 1024 * 1024;
/**
 * Without a journal, ext4 checks every inode freed in the last minutes before it reuses one, which makes a program that
 * creates and removes many files ten times slower. On a disk of this size a journal costs comparatively little.
 */
const JOURNAL_MB = 4;
const WITH_JOURNAL_MB = 256;
/** Clients choose the sizes, and even an empty file system takes space: 10 MiB for one of 100 GiB. */
const MAX_KEPT = 64;

interface EmptyDisk {
  path: string;
  made: Promise<unknown>;
  /** Copies in progress. */
  users: number;
}

export class EmptyDisks {
  readonly #dir: string;
  readonly #make: (path: string, sizeMb: number) => Promise<void>;
  /** Least recently used first. */
  readonly #kept = new Map<number, EmptyDisk>();
  #count = 0;

  private constructor(dir: string, make: (path: string, sizeMb: number) => Promise<void>) {
    this.#dir = dir;
    this.#make = make;
  }

  /** Removes leftovers of an earlier agent. `make` is replaced in tests. */
  static async open(dir: string, make = makeFileSystem): Promise<EmptyDisks> {
    await rm(dir, { recursive: true, force: true });
    await mkdir(dir, { recursive: true, mode: 0o700 });
    return new EmptyDisks(dir, make);
  }

  /** Runs `work` with the file of an empty file system of this size; it may only copy the file. */
  async use<T>(sizeMb: number, work: (path: string) => Promise<T>): Promise<T> {
    const disk = this.#kept.get(sizeMb) ?? this.#begin(sizeMb);
    this.#kept.delete(sizeMb);
    this.#kept.set(sizeMb, disk);
    disk.users += 1;
    try {
      await disk.made;
      return await work(disk.path);
    } finally {
      disk.users -= 1;
      await this.#makeRoom();
    }
  }

  #begin(sizeMb: number): EmptyDisk {
    this.#count += 1;
    const path = join(this.#dir, `${sizeMb}-${this.#count}.ext4`);
    const disk: EmptyDisk = { path, made: this.#make(path, sizeMb), users: 0 };
    disk.made.catch(() => {
      if (this.#kept.get(sizeMb) === disk) this.#kept.delete(sizeMb);
    });
    return disk;
  }

  async #makeRoom(): Promise<void> {
    for (const [sizeMb, disk] of this.#kept) {
      if (this.#kept.size <= MAX_KEPT) return;
      if (disk.users > 0) continue;
      this.#kept.delete(sizeMb);
      await rm(disk.path, { force: true });
    }
  }
}

async function makeFileSystem(path: string, sizeMb: number): Promise<void> {
  const unfinished = `${path}.new`;
  try {
    await writeFile(unfinished, '', { mode: 0o600 });
    await truncate(unfinished, sizeMb * MEBIBYTE);
    const journal = sizeMb < WITH_JOURNAL_MB ? ['-O', '^has_journal'] : ['-J', `size=${JOURNAL_MB}`];
    const options = ['-q', '-F', '-m', '0', '-E', 'nodiscard', ...journal];
    await runTool('mkfs.ext4', [...options, unfinished], { deadlineMs: MAKE_MS });
    await rename(unfinished, path);
  } catch (error) {
    await rm(unfinished, { force: true });
    throw error;
  }
}
