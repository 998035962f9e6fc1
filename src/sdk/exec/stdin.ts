/**
 * A command's stdin. The last bytes are kept after they were sent: when a link is cut, the other side reports how many
 * bytes it has received, and the rest is sent again.
 */
import { Channel } from '../../protocol/frames.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { MuxStream } from '../../mux/index.ts';
import { readPiece, type Bytes } from '../source.ts';

/**
 * More than can be in flight: each of three hops holds a stream window and a queue in front of it. Older bytes have
 * been received.
 */
const REPLAY_BYTES = 2 * 1024 * 1024;
const BLOCK_BYTES = 64 * 1024;

export class Stdin {
  #blocks: Buffer[] = [];
  /** Offset of the first byte kept. */
  #base = 0;
  #end = 0;
  #finished = false;
  #gone = false;
  #sent = 0;
  /** Offset of our first byte in the command's stdin. Null: unknown until the first attach. */
  #origin: number | null;
  #wake: (() => void) | null = null;
  #writers: { end: number; done: () => void }[] = [];

  /** @param attached the command was already running, so others may have written to it before */
  constructor(attached: boolean) {
    this.#origin = attached ? null : 0;
  }

  /**
   * Copies the data. Resolves when it has been sent, which requires that the command reads, or when the command has
   * ended.
   * @throws ServiceError `invalid_request` after `finish`; TypeError for anything but text or bytes.
   */
  async write(data: Bytes): Promise<void> {
    if (this.#finished) throw new ServiceError('invalid_request', 'stdin was closed');
    const bytes = Buffer.from(readPiece(data));
    if (this.#gone || bytes.length === 0) return;
    for (let at = 0; at < bytes.length; at += BLOCK_BYTES) this.#blocks.push(bytes.subarray(at, at + BLOCK_BYTES));
    this.#end += bytes.length;
    const done = Promise.withResolvers<void>();
    this.#writers.push({ end: this.#end, done: done.resolve });
    this.#wake?.();
    await done.promise;
  }

  /** Resolves when everything written so far has been sent, or the command has ended. */
  get sent(): Promise<void> {
    if (this.#gone || this.#sent >= this.#end) return Promise.resolve();
    const done = Promise.withResolvers<void>();
    this.#writers.push({ end: this.#end, done: done.resolve });
    return done.promise;
  }

  /** Whether a receiver that has `taken` bytes in total has everything. */
  isWhole(taken: number): boolean {
    return this.#gone || taken - (this.#origin ?? taken) >= this.#end;
  }

  /** Nothing was ever written, and stdin was not closed. */
  get untouched(): boolean {
    return this.#end === 0 && !this.#finished;
  }

  get finished(): boolean {
    return this.#finished;
  }

  /** The command has ended: further writes are dropped. */
  get gone(): boolean {
    return this.#gone;
  }

  finish(): void {
    this.#finished = true;
    this.#wake?.();
  }

  /** The command has ended: drops what has not been sent. */
  drop(): void {
    this.#gone = true;
    this.#blocks = [];
    for (const writer of this.#writers) writer.done();
    this.#writers = [];
    this.#wake?.();
  }

  /**
   * Sends everything after the `taken` bytes that were received, until the stream closes.
   * @throws ServiceError `interrupted` when missing bytes are no longer kept.
   */
  async pump(stream: MuxStream, taken: number): Promise<void> {
    this.#origin ??= taken;
    const from = taken - this.#origin;
    if (from < this.#base || from > this.#end) {
      throw new ServiceError('interrupted', `stdin cannot continue at byte ${from}: bytes ${this.#base} on are kept`);
    }
    for (let at = from; !stream.closed && !this.#gone;) {
      const block = this.#from(at);
      if (block !== undefined) {
        const drained = stream.write(Channel.STDIN, block);
        at += block.length;
        if (drained !== undefined) await drained;
        if (!stream.closed) this.#wasSent(at);
      } else if (this.#finished) return stream.fin(Channel.STDIN);
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** The bytes from an offset to the end of its block. */
  #from(at: number): Buffer | undefined {
    let start = this.#base;
    for (const block of this.#blocks) {
      if (at < start + block.length) return block.subarray(at - start);
      start += block.length;
    }
    return undefined;
  }

  #wasSent(at: number): void {
    this.#sent = Math.max(this.#sent, at);
    while (this.#writers.length > 0 && this.#writers[0]!.end <= this.#sent) this.#writers.shift()!.done();
    while (this.#blocks.length > 0 && this.#base + this.#blocks[0]!.length <= this.#sent - REPLAY_BYTES) {
      this.#base += this.#blocks.shift()!.length;
    }
  }
}
