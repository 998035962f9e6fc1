/** A job on the node's disk: its record and its channel logs. */
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import * as z from 'zod';
import type { Logger } from '../../src/lib/logger.ts';
import { parseJson } from '../../src/lib/parse-json.ts';
import { readIfThere, writeWhole } from '../../src/lib/whole-file.ts';
import { ExecExit } from '../../src/protocol/exec.ts';
import { ChannelLog } from './channel-log.ts';

const Stored = z.object({
  version: z.literal(1),
  id: z.string(),
  /** Fingerprint of its request, if one was recorded. */
  print: z.string().optional(),
  pid: z.int(),
  startedAtMs: z.number(),
  /** Whether it runs in a terminal. */
  pty: z.boolean(),
  /** Bytes of stdin received; known once it has ended. */
  stdinBytes: z.int(),
  /** Null while it is running. */
  exit: ExecExit.nullable(),
});
export type StoredJob = z.infer<typeof Stored>;

/** Disk space of its directory and record. */
const OWN_BYTES = 8192;
/** Segments of a full log: dropping one loses only a small part of it. */
const SEGMENTS = 16;
const MIN_SEGMENT_BYTES = 64 * 1024;
const MAX_SEGMENT_BYTES = 4 * 1024 * 1024;

export interface JobFilesOptions {
  directory: string;
  /** Resolves once the directory is free: an earlier job of the same id may still be being removed. */
  free: Promise<void>;
  /** Limit of the job's output, both channels together. */
  maxBytes: number;
  log: Logger;
  changed(): void;
}

export class JobFiles {
  readonly stdout: ChannelLog;
  readonly stderr: ChannelLog;
  readonly #options: JobFilesOptions;
  readonly #ready: Promise<void>;
  /** The latest write of the record. Never rejects. */
  #saved: Promise<void> = Promise.resolve();
  #complained = false;
  #closed = false;

  private constructor(options: JobFilesOptions, ready: Promise<void>) {
    this.#options = options;
    this.#ready = ready;
    const segmentBytes = Math.min(
      MAX_SEGMENT_BYTES,
      Math.max(MIN_SEGMENT_BYTES, Math.floor(options.maxBytes / SEGMENTS)),
    );
    const channel = (name: 'stdout' | 'stderr'): ChannelLog =>
      new ChannelLog({
        directory: options.directory,
        ready,
        name,
        segmentBytes,
        changed: () => this.#changed(),
        failed: (error) => this.#failed(error),
      });
    this.stdout = channel('stdout');
    this.stderr = channel('stderr');
  }

  /** Usable at once, before the directory exists. Bytes refused by the disk are logged and count as lost. */
  static create(options: JobFilesOptions): JobFiles {
    const made = options.free.then(async () => {
      await mkdir(options.directory, { recursive: true, mode: 0o700 });
    });
    const files: JobFiles = new JobFiles(
      options,
      made.catch((error: unknown) => files.#failed(error)),
    );
    return files;
  }

  /**
   * Loads a job of an earlier agent; undefined if it is incomplete.
   * @throws Error from the disk if it cannot be read.
   */
  static async load(options: JobFilesOptions): Promise<{ files: JobFiles; stored: StoredJob } | undefined> {
    const stored = parseJson(Stored, (await readIfThere(path.join(options.directory, 'job.json'))) ?? '');
    if (stored?.id !== path.basename(options.directory)) return undefined;
    const files = new JobFiles(options, Promise.resolve());
    await Promise.all([files.stdout.load(), files.stderr.load()]);
    if (stored.exit !== null) await files.end(stored.exit);
    return { files, stored };
  }

  get directory(): string {
    return this.#options.directory;
  }

  get diskBytes(): number {
    return OWN_BYTES + this.stdout.diskBytes + this.stderr.diskBytes;
  }

  /** Drops the oldest segment of the larger channel. False if there is none. */
  dropOldest(): boolean {
    const [first, second] =
      this.stdout.diskBytes >= this.stderr.diskBytes ? [this.stdout, this.stderr] : [this.stderr, this.stdout];
    return first.dropOldest() || second.dropOldest();
  }

  /** Called at the exit. Resolves once all output is written. Bytes counted in the exit that never arrived are lost. */
  async end({ stdoutBytes, stderrBytes }: { stdoutBytes: number; stderrBytes: number }): Promise<void> {
    await Promise.all([this.stdout.lost(stdoutBytes), this.stderr.lost(stderrBytes)]);
  }

  /** Resolves once all output so far is written. */
  async settled(): Promise<void> {
    await this.end({ stdoutBytes: 0, stderrBytes: 0 });
  }

  /**
   * Writes the record atomically. Writes are serialised because they share a temporary name.
   * @throws Error from the disk.
   */
  async save(stored: StoredJob): Promise<void> {
    if (this.#closed) return;
    const file = path.join(this.#options.directory, 'job.json');
    const text = JSON.stringify(stored);
    const work = Promise.all([this.#ready, this.#saved]).then(async () => {
      await writeWhole(file, text);
    });
    this.#saved = work.catch(() => undefined);
    await work;
  }

  /** Stops all writing. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([this.#ready, this.stdout.close(), this.stderr.close(), this.#saved]);
  }

  async remove(): Promise<void> {
    await this.close();
    await rm(this.#options.directory, { recursive: true, force: true });
  }

  #changed(): void {
    while (this.diskBytes > this.#options.maxBytes + OWN_BYTES && this.dropOldest());
    this.#options.changed();
  }

  /** Logs only the first refusal: a full disk refuses everything. */
  #failed(error: unknown): void {
    if (this.#complained || this.#closed) return;
    this.#complained = true;
    this.#options.log.error({ err: error, job: path.basename(this.#options.directory) }, 'output of a job is lost');
  }
}
