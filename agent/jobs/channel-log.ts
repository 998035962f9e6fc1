/**
 * What one channel of a job has written, in files on the node. Each file is named after the offset of its first byte, so
 * that the directory is all there is to know, for the next agent too. Where two files do not meet, output was lost. The
 * oldest file goes first when room is needed.
 */
import { open, readdir, rm, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';

/** A file takes whole blocks of the disk. */
const BLOCK_BYTES = 4096;
/** Gaps make files, and whoever took over a sandbox can make gaps. */
const MAX_SEGMENTS = 64;

/** One file. */
export interface Segment {
  readonly start: number;
  bytes: number;
}

interface ChannelLogOptions {
  /** The job's directory. It may come later than the first bytes. */
  directory: string;
  ready: Promise<void>;
  name: 'stdout' | 'stderr';
  /** From this size on the next file is begun. */
  segmentBytes: number;
  /** Told after each change of what is kept or known. */
  changed(): void;
  /** The disk refused bytes: they count as lost. */
  failed(error: unknown): void;
}

type Queued = Buffer | { lostTo: number };

export class ChannelLog {
  readonly #options: ChannelLogOptions;
  #segments: Segment[] = [];
  #written = 0;
  #queue: Queued[] = [];
  /** Of those who wait for what is in the queue. */
  #waiting: PromiseWithResolvers<void> | null = null;
  #writing: Promise<void> | null = null;
  #closed = false;

  constructor(options: ChannelLogOptions) {
    this.#options = options;
  }

  /** Offset of the next byte: what the job has written and the disk has taken, or lost. */
  get written(): number {
    return this.#written;
  }

  /** Offset of the first byte that can still be read. */
  get start(): number {
    return this.#segments[0]?.start ?? this.#written;
  }

  /** What it takes on the disk. */
  get diskBytes(): number {
    let sum = 0;
    for (const { bytes } of this.#segments) sum += Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
    return sum;
  }

  /** Takes a copy. Resolves once the disk has it, or has refused it; never rejects. */
  append(bytes: Uint8Array): Promise<void> {
    return this.#push(Buffer.from(bytes));
  }

  /** What follows begins at this offset. */
  lost(to: number): Promise<void> {
    return this.#push({ lostTo: to });
  }

  /** What an earlier agent has written. */
  async load(): Promise<void> {
    const { directory, name } = this.#options;
    for (const file of await readdir(directory)) {
      const start = offsetOf(file, name);
      if (start === undefined) continue;
      const { size } = await stat(path.join(directory, file));
      if (size > 0) this.#segments.push({ start, bytes: size });
    }
    this.#segments.sort((a, b) => a.start - b.start);
    const last = this.#segments.at(-1);
    this.#written = last === undefined ? 0 : last.start + last.bytes;
  }

  /** The segment that holds the byte at this offset, or else the next one. Undefined when there is none. */
  find(offset: number): Segment | undefined {
    return this.#segments.find(({ start, bytes }) => offset < start + bytes);
  }

  fileOf({ start }: Segment): string {
    return path.join(this.#options.directory, `${this.#options.name}.${start}`);
  }

  /** Whether there was a file to give up. */
  dropOldest(): boolean {
    return this.#giveUp(this.#segments.shift());
  }

  /** Resolves once nothing is being written. Nothing is taken any more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#queue = [];
    await this.#writing;
  }

  #push(item: Queued): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#queue.push(item);
    this.#waiting ??= Promise.withResolvers<void>();
    const { promise } = this.#waiting;
    this.#writing ??= this.#write();
    return promise;
  }

  /** Writes what waits, and what comes meanwhile. Never rejects. */
  async #write(): Promise<void> {
    await this.#options.ready;
    // Something may come while the file is being closed, and be the last.
    while (this.#queue.length > 0) await this.#writeQueue();
    this.#writing = null;
    this.#waiting?.resolve();
    this.#waiting = null;
  }

  async #writeQueue(): Promise<void> {
    let file = null as { segment: Segment; handle: FileHandle } | null;
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      const waiting = this.#waiting;
      this.#queue = [];
      this.#waiting = null;
      for (const item of runs(batch)) {
        if (!Buffer.isBuffer(item)) {
          this.#written = Math.max(this.#written, item.lostTo);
          continue;
        }
        const segment = this.#current();
        try {
          if (file?.segment !== segment) {
            await file?.handle.close();
            file = null;
            file = { segment, handle: await open(this.fileOf(segment), 'a', 0o600) };
          }
          await file.handle.appendFile(item);
          segment.bytes += item.length;
        } catch (error) {
          await this.#refused(segment, item.length, error);
        }
        this.#written += item.length;
      }
      this.#options.changed();
      waiting?.resolve();
    }
    await file?.handle.close().catch(this.#options.failed);
  }

  /** The file that takes the next byte. */
  #current(): Segment {
    const last = this.#segments.at(-1);
    const goesOn = last !== undefined && last.start + last.bytes === this.#written;
    if (goesOn && last.bytes < this.#options.segmentBytes) return last;
    if (last?.bytes === 0) this.#giveUp(this.#segments.pop());
    const segment = { start: this.#written, bytes: 0 };
    this.#segments.push(segment);
    if (this.#segments.length > MAX_SEGMENTS) this.dropOldest();
    return segment;
  }

  #giveUp(segment: Segment | undefined): boolean {
    if (segment === undefined) return false;
    rm(this.fileOf(segment), { force: true }).catch(this.#options.failed);
    return true;
  }

  /** Some of the bytes may have got there all the same. */
  async #refused(segment: Segment, bytes: number, error: unknown): Promise<void> {
    const found = await stat(this.fileOf(segment)).catch(() => ({ size: segment.bytes }));
    segment.bytes = Math.min(Math.max(found.size, segment.bytes), segment.bytes + bytes);
    this.#options.failed(error);
  }
}

function offsetOf(file: string, name: string): number | undefined {
  if (!file.startsWith(`${name}.`)) return undefined;
  const digits = file.slice(name.length + 1);
  return /^\d{1,15}$/.test(digits) ? Number(digits) : undefined;
}

/** Buffers in a row become one. */
function* runs(items: readonly Queued[]): Generator<Queued> {
  let row: Buffer[] = [];
  for (const item of items) {
    if (Buffer.isBuffer(item)) {
      row.push(item);
      continue;
    }
    if (row.length > 0) yield Buffer.concat(row);
    row = [];
    yield item;
  }
  if (row.length > 0) yield row.length === 1 ? (row[0] as Buffer) : Buffer.concat(row);
}
