/** A job on the node's disk: what it is and how it ended, and what it has written. */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import * as z from 'zod';
import type { Logger } from '../../src/lib/logger.ts';
import { ExecExit } from '../../src/protocol/exec.ts';
import { ChannelLog } from './channel-log.ts';

const Stored = z.object({
  version: z.literal(1),
  id: z.string(),
  /** Of its request, where that was written down. */
  print: z.string().optional(),
  pid: z.int(),
  startedAtMs: z.number(),
  /** Its output is a terminal's. */
  pty: z.boolean(),
  /** Bytes of stdin that it was given; known once it has ended. */
  stdinBytes: z.int(),
  /** Null while it runs. */
  exit: ExecExit.nullable(),
});
export type StoredJob = z.infer<typeof Stored>;

/** Its directory and its record. */
const OWN_BYTES = 8192;
/** So many files make up a whole log, so that what is given up at a time is a small part of it. */
const SEGMENTS = 16;
const MIN_SEGMENT_BYTES = 64 * 1024;
const MAX_SEGMENT_BYTES = 4 * 1024 * 1024;

export interface JobFilesOptions {
  directory: string;
  /** Resolves once nobody else has anything there. */
  free: Promise<void>;
  /** Most that the job may keep, both channels together. */
  maxBytes: number;
  log: Logger;
  changed(): void;
}

export class JobFiles {
  readonly stdout: ChannelLog;
  readonly stderr: ChannelLog;
  readonly #options: JobFilesOptions;
  readonly #ready: Promise<void>;
  /** The record that was written last, or is being written. Never rejects. */
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

  /** Bytes may be given to it at once. What the disk refuses is logged, and the job's output counts as lost. */
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

  /** What an earlier agent left. Undefined when it is not whole. */
  static async load(options: JobFilesOptions): Promise<{ files: JobFiles; stored: StoredJob } | undefined> {
    try {
      const text = await readFile(path.join(options.directory, 'job.json'), 'utf8');
      const stored = Stored.parse(JSON.parse(text));
      if (stored.id !== path.basename(options.directory)) return undefined;
      const files = new JobFiles(options, Promise.resolve());
      await Promise.all([files.stdout.load(), files.stderr.load()]);
      if (stored.exit !== null) await files.end(stored.exit);
      return { files, stored };
    } catch {
      return undefined;
    }
  }

  get directory(): string {
    return this.#options.directory;
  }

  get diskBytes(): number {
    return OWN_BYTES + this.stdout.diskBytes + this.stderr.diskBytes;
  }

  /** The oldest of the channel that holds more. False when nothing is left to give up. */
  dropOldest(): boolean {
    const [first, second] =
      this.stdout.diskBytes >= this.stderr.diskBytes ? [this.stdout, this.stderr] : [this.stderr, this.stdout];
    return first.dropOldest() || second.dropOldest();
  }

  /** Nothing more comes: resolves once all that came is written. What is missing to the job's own count was lost. */
  async end({ stdoutBytes, stderrBytes }: { stdoutBytes: number; stderrBytes: number }): Promise<void> {
    await Promise.all([this.stdout.lost(stdoutBytes), this.stderr.lost(stderrBytes)]);
  }

  /** Resolves once all that came so far is written. */
  async settled(): Promise<void> {
    await this.end({ stdoutBytes: 0, stderrBytes: 0 });
  }

  /** Whole or not at all, and one at a time: they share a temporary name. @throws Error when the disk refuses. */
  async save(stored: StoredJob): Promise<void> {
    if (this.#closed) return;
    const file = path.join(this.#options.directory, 'job.json');
    const text = JSON.stringify(stored);
    const work = Promise.all([this.#ready, this.#saved]).then(async () => {
      await writeFile(`${file}.new`, text, { mode: 0o600 });
      await rename(`${file}.new`, file);
    });
    this.#saved = work.catch(() => undefined);
    await work;
  }

  /** Nothing is written from now on. */
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

  /** Once: a full disk refuses everything. */
  #failed(error: unknown): void {
    if (this.#complained || this.#closed) return;
    this.#complained = true;
    this.#options.log.error({ err: error, job: path.basename(this.#options.directory) }, 'output of a job is lost');
  }
}
