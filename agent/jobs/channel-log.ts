/**
 * The output of one channel of a job, in files on the node. Each file (a segment) is named after the offset of its
 * first byte, so the directory holds all the state, for the next agent too. A gap between two segments means lost
 * output. The oldest segment is dropped first when room is needed.
 */
import { open, readdir, rm, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';

/** A file occupies whole blocks on disk. */
const BLOCK_BYTES = 4096;
/** Each gap starts a segment, and hostile code in a sandbox can cause gaps. */
const MAX_SEGMENTS = 64;

export interface Segment {
  readonly start: number;
  bytes: number;
}

interface ChannelLogOptions {
  /** The job's directory. May be created after the first bytes arrive. */
  directory: string;
  ready: Promise<void>;
  name: 'stdout' | 'stderr';
  /** Once a segment reaches this size, a new one is started. */
  segmentBytes: number;
  /** Called after each change to what is kept or known. */
  changed(): void;
  /** Called when the disk refuses bytes, which then count as lost. */
  failed(error: unknown): void;
}

type Queued = Buffer | { lostTo: number };

export class ChannelLog {
  readonly #options: ChannelLogOptions;
  #segments: Segment[] = [];
  #written = 0;
  #queue: Queued[] = [];
  /** Resolved when the queue has been written. */
  #waiting: PromiseWithResolvers<void> | null = null;
  #writing: Promise<void> | null = null;
  #closed = false;

  constructor(options: ChannelLogOptions) {
    this.#options = options;
  }

  /** Offset of the next byte: the number of bytes stored or lost so far. */
  get written(): number {
    return this.#written;
  }

  /** Offset of the first byte that can still be read. */
  get start(): number {
    return this.#segments[0]?.start ?? this.#written;
  }

  /** Disk space used, in bytes. */
  get diskBytes(): number {
    let sum = 0;
    for (const { bytes } of this.#segments) sum += Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
    return sum;
  }

  /** Copies the bytes. Resolves once they are stored or lost; never rejects. */
  append(bytes: Uint8Array): Promise<void> {
    return this.#push(Buffer.from(bytes));
  }

  /** Records a gap: the next byte has this offset. */
  lost(to: number): Promise<void> {
    return this.#push({ lostTo: to });
  }

  /** Loads the segments written by an earlier agent. */
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

  /** The segment that holds the byte at this offset, or else the next one after it; undefined if there is neither. */
  find(offset: number): Segment | undefined {
    return this.#segments.find(({ start, bytes }) => offset < start + bytes);
  }

  fileOf({ start }: Segment): string {
    return path.join(this.#options.directory, `${this.#options.name}.${start}`);
  }

  /** Drops the oldest segment. False if there is none. */
  dropOldest(): boolean {
    return this.#giveUp(this.#segments.shift());
  }

  /** Stops accepting bytes; resolves once nothing is being written. */
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

  /** Writes the queue, including bytes that arrive meanwhile. Never rejects. */
  async #write(): Promise<void> {
    await this.#options.ready;
    // Bytes may arrive while the file is being closed.
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

  /** The segment that the next byte goes to. */
  #current(): Segment {
    const last = this.#segments.at(-1);
    const goesOn = last !== undefined && last.start + last.bytes === this.#written;
    if (goesOn && last.bytes < this.#options.segmentBytes) return last;
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

  /** Some of the refused bytes may have been written anyway. A segment with none is dropped. */
  async #refused(segment: Segment, bytes: number, error: unknown): Promise<void> {
    const found = await stat(this.fileOf(segment)).catch(() => ({ size: segment.bytes }));
    segment.bytes = Math.min(Math.max(found.size, segment.bytes), segment.bytes + bytes);
    if (segment.bytes === 0) {
      this.#segments = this.#segments.filter((one) => one !== segment);
      this.#giveUp(segment);
    }
    this.#options.failed(error);
  }
}

function offsetOf(file: string, name: string): number | undefined {
  if (!file.startsWith(`${name}.`)) return undefined;
  const digits = file.slice(name.length + 1);
  return /^\d{1,15}$/.test(digits) ? Number(digits) : undefined;
}

/** Merges consecutive buffers. */
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
