/** Reads one channel of a job from an offset on, while it is being written. */
import { open, type FileHandle } from 'node:fs/promises';
import type { ChannelLog, Segment } from './channel-log.ts';

type Piece =
  /** Valid until the next call. */
  { bytes: Uint8Array } | /** The bytes in between are not kept any more. */ { lost: { from: number; to: number } };

const PIECE_BYTES = 64 * 1024;

export class LogReader {
  readonly #log: ChannelLog;
  #at: number;
  #file: { segment: Segment; handle: FileHandle } | null = null;
  #buffer: Buffer | null = null;

  constructor(log: ChannelLog, offset: number) {
    this.#log = log;
    this.#at = offset;
  }

  /** The next piece, or null if there is none yet. @throws Error if the disk cannot be read. */
  async next(): Promise<Piece | null> {
    while (this.#at < this.#log.written) {
      const segment = this.#log.find(this.#at);
      if (segment === undefined || segment.start > this.#at) return this.#skip(segment?.start ?? this.#log.written);
      const handle = await this.#open(segment);
      // The segment was removed meanwhile: look again.
      if (handle === null) continue;
      const at = this.#at - segment.start;
      this.#buffer ??= Buffer.allocUnsafe(PIECE_BYTES);
      const most = Math.min(PIECE_BYTES, segment.bytes - at);
      const { bytesRead } = await handle.read(this.#buffer, 0, most, at);
      if (bytesRead === 0) return this.#skip(segment.start + segment.bytes);
      this.#at += bytesRead;
      return { bytes: this.#buffer.subarray(0, bytesRead) };
    }
    return null;
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = null;
    await file?.handle.close();
  }

  #skip(to: number): Piece {
    const from = this.#at;
    this.#at = to;
    return { lost: { from, to } };
  }

  async #open(segment: Segment): Promise<FileHandle | null> {
    if (this.#file?.segment === segment) return this.#file.handle;
    await this.close();
    try {
      const handle = await open(this.#log.fileOf(segment), 'r');
      this.#file = { segment, handle };
      return handle;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT' && this.#log.find(this.#at) !== segment) return null;
      throw error;
    }
  }
}
