/**
 * Output that waits for its reader, in order. Consecutive small writes of one channel are merged into one chunk, so
 * that memory use is bounded by the number of bytes. With `lend`, the memory of a chunk comes from a pool and goes back
 * to it.
 */
import { giveBuffer, takeBuffer } from '../../mux/index.ts';
import type { ChannelName, ExecOutputEvent, Output } from './result.ts';

/** Returns credit for bytes that the reader has taken. */
export interface Credit {
  consume(bytes: number): void;
}

export interface OutputChunk {
  channel: ChannelName;
  buffer: Buffer;
  used: number;
  credit: Credit;
}

type Lost = Extract<ExecOutputEvent<Output>, { type: 'output_lost' }>;
type Entry = OutputChunk | ExecOutputEvent<Output>;

export const isChunk = (entry: Entry): entry is OutputChunk => 'credit' in entry;

/** Size of the buffer that is allocated when small writes follow each other. */
const SHARED_BYTES = 16 * 1024;
const LENT_BYTES = 64 * 1024;
/** The same amount as a stream's window. */
const MAX_KEPT_BYTES = 256 * 1024;

export const NO_CREDIT: Credit = { consume: () => undefined };

export class OutputBuffer {
  readonly #lend: boolean;
  /** Where the output begins, in bytes of each channel. */
  readonly #from: Record<ChannelName, number>;
  #entries: Entry[] = [];
  /** Gaps at the end of a channel, which can still grow. */
  #lost: Partial<Record<ChannelName, Lost>> | null = null;
  /** Bytes kept although their credit was returned. */
  #keptBytes = 0;

  constructor(lend: boolean, from: Record<ChannelName, number>) {
    this.#lend = lend;
    this.#from = from;
  }

  /** Copies `bytes`. */
  push(channel: ChannelName, bytes: Uint8Array, credit: Credit): void {
    const last = this.#entries.at(-1);
    const behind = last !== undefined && isChunk(last) && last.channel === channel && last.credit === credit;
    if (behind && last.buffer.length - last.used >= bytes.length) {
      last.buffer.set(bytes, last.used);
      last.used += bytes.length;
      return;
    }
    const buffer = this.#memory(bytes.length, behind);
    buffer.set(bytes);
    this.#entries.push({ channel, buffer, used: bytes.length, credit });
  }

  pushEvent(event: ExecOutputEvent<Output>): void {
    this.#entries.push(event);
    if (event.type === 'output_lost') delete this.#lost?.[event.channel];
  }

  /** Returns the credit of everything that waits. */
  release(): void {
    for (const entry of this.#entries) {
      if (!isChunk(entry)) continue;
      entry.credit.consume(entry.used);
      entry.credit = NO_CREDIT;
      this.#keptBytes += entry.used;
    }
  }

  /** As `push`, for bytes whose credit has already been returned. Bytes beyond the limit become an `output_lost`. */
  keep(channel: ChannelName, bytes: Uint8Array): void {
    const lost = this.#lost?.[channel];
    if (lost !== undefined) lost.to += bytes.length;
    else if (this.#keptBytes + bytes.length <= MAX_KEPT_BYTES) {
      this.#keptBytes += bytes.length;
      this.push(channel, bytes, NO_CREDIT);
    } else {
      const from = this.#end(channel);
      const event: Lost = { type: 'output_lost', channel, from, to: from + bytes.length };
      this.#entries.push(event);
      this.#lost = { ...this.#lost, [channel]: event };
      // After a gap in one channel, the other one is no longer kept either.
      this.#keptBytes = MAX_KEPT_BYTES;
    }
  }

  /** Whether anything was lost. */
  get lossy(): boolean {
    return this.#lost !== null;
  }

  /** Removes the first entry, to which nothing more is added. */
  shift(): Entry | undefined {
    return this.#entries.shift();
  }

  /** Puts it back at the front. */
  putBack(entry: Entry): void {
    this.#entries.unshift(entry);
  }

  get empty(): boolean {
    return this.#entries.length === 0;
  }

  /** The chunk is no longer in use. */
  free(chunk: OutputChunk): void {
    if (this.#lend) giveBuffer(chunk.buffer);
  }

  /** End offset of a channel, provided that nothing has been taken yet. */
  #end(channel: ChannelName): number {
    let end = this.#from[channel];
    for (const entry of this.#entries) {
      if (isChunk(entry)) end += entry.channel === channel ? entry.used : 0;
      else if (entry.type === 'output_lost' && entry.channel === channel) end = entry.to;
    }
    return end;
  }

  #memory(bytes: number, behind: boolean): Buffer {
    if (!this.#lend) return Buffer.allocUnsafe(behind ? Math.max(bytes, SHARED_BYTES) : bytes);
    const lent = takeBuffer(Math.max(bytes, LENT_BYTES));
    return Buffer.from(lent.buffer, lent.byteOffset, lent.byteLength);
  }
}
