/**
 * Output that waits for its reader, in order. Small writes of one channel in a row become one piece, so that what waits
 * is bounded by its bytes. With `lend`, the memory of a piece is taken from a pool and goes back to it.
 */
import { giveBuffer, takeBuffer } from '../../mux/index.ts';
import type { ChannelName, ExecOutputEvent, Output } from './result.ts';

/** Gives credit back for bytes that the reader has taken. */
export interface Credit {
  consume(bytes: number): void;
}

export interface Piece {
  channel: ChannelName;
  buffer: Buffer;
  used: number;
  credit: Credit;
}

type Lost = Extract<ExecOutputEvent<Output>, { type: 'output_lost' }>;
type Entry = Piece | ExecOutputEvent<Output>;

export const isPiece = (entry: Entry): entry is Piece => 'credit' in entry;

/** What a second small write is given room in. */
const SHARED_BYTES = 16 * 1024;
const LENT_BYTES = 64 * 1024;
/** As much as a stream's window holds back. */
const MAX_KEPT_BYTES = 256 * 1024;

export const NO_CREDIT: Credit = { consume: () => undefined };

export class Pieces {
  readonly #lend: boolean;
  /** Where the output begins, in bytes of each channel. */
  readonly #from: Record<ChannelName, number>;
  #entries: Entry[] = [];
  /** What there was no room for, while it grows. */
  #lost: Partial<Record<ChannelName, Lost>> | null = null;
  /** Bytes that wait although their credit went back. */
  #keptBytes = 0;

  constructor(lend: boolean, from: Record<ChannelName, number>) {
    this.#lend = lend;
    this.#from = from;
  }

  /** Copies `bytes`. */
  push(channel: ChannelName, bytes: Uint8Array, credit: Credit): void {
    const last = this.#entries.at(-1);
    const behind = last !== undefined && isPiece(last) && last.channel === channel && last.credit === credit;
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

  /** Gives back the credit of all that waits. */
  release(): void {
    for (const entry of this.#entries) {
      if (!isPiece(entry)) continue;
      entry.credit.consume(entry.used);
      entry.credit = NO_CREDIT;
      this.#keptBytes += entry.used;
    }
  }

  /** As `push`, of bytes whose credit went back. What there is no room for becomes an `output_lost`. */
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
      // What is behind a gap of one channel is not kept of the other either.
      this.#keptBytes = MAX_KEPT_BYTES;
    }
  }

  /** Something there was no room for. */
  get lossy(): boolean {
    return this.#lost !== null;
  }

  /** The first. Nothing more is added to it. */
  shift(): Entry | undefined {
    return this.#entries.shift();
  }

  /** Makes it the first again. */
  putBack(entry: Entry): void {
    this.#entries.unshift(entry);
  }

  get empty(): boolean {
    return this.#entries.length === 0;
  }

  /** Nobody looks at the piece any more. */
  free(piece: Piece): void {
    if (this.#lend) giveBuffer(piece.buffer);
  }

  /** The offset behind all of a channel that was ever put here, if nothing was taken yet. */
  #end(channel: ChannelName): number {
    let end = this.#from[channel];
    for (const entry of this.#entries) {
      if (isPiece(entry)) end += entry.channel === channel ? entry.used : 0;
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
