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

type Entry = Piece | ExecOutputEvent<Output>;

export const isPiece = (entry: Entry): entry is Piece => 'credit' in entry;

/** What a second small write is given room in. */
const SHARED_BYTES = 16 * 1024;
const LENT_BYTES = 64 * 1024;

export class Pieces {
  readonly #lend: boolean;
  #entries: Entry[] = [];

  constructor(lend: boolean) {
    this.#lend = lend;
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
  release(piece: Piece): void {
    if (this.#lend) giveBuffer(piece.buffer);
  }

  #memory(bytes: number, behind: boolean): Buffer {
    if (!this.#lend) return Buffer.allocUnsafe(behind ? Math.max(bytes, SHARED_BYTES) : bytes);
    const lent = takeBuffer(Math.max(bytes, LENT_BYTES));
    return Buffer.from(lent.buffer, lent.byteOffset, lent.byteLength);
  }
}
