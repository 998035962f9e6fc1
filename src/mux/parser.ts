/**
 * Cuts a byte stream into frames with an offset parser: DATA is never copied, and control frames only at chunk edges.
 */
import { FrameError, FrameType, HEADER_BYTES, checkLength } from '../protocol/frames.ts';
import { EMPTY } from './payloads.ts';

/** Where the parser's findings go. A method that returns false stops the parser for good. */
export interface FrameSink {
  /** A complete frame of any type but DATA. `payload` is valid only during the call. */
  control(type: number, flags: number, channel: number, stream: number, payload: Uint8Array): boolean;
  /** A DATA frame begins: its bytes follow in one or more `dataBytes`. */
  dataHeader(channel: number, stream: number, length: number): boolean;
  /** The next bytes of the DATA frame begun last, valid only during the call. */
  dataBytes(bytes: Uint8Array): boolean;
}

export class FrameParser {
  readonly #sink: FrameSink;
  /** A header split by the edge of a chunk. */
  readonly #header = new Uint8Array(HEADER_BYTES);
  #headerBytes = 0;
  #type = 0;
  #flags = 0;
  #channel = 0;
  #stream = 0;
  #length = 0;
  /** Payload bytes of the current frame still to come. */
  #missing = 0;
  /** A control payload that spans chunks. Grows as bytes arrive, never by what a header announces. */
  #partial: Uint8Array | null = null;
  #partialBytes = 0;
  #stopped = false;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** @throws FrameError when a header announces more bytes than its type may have. */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (!this.#stopped) {
      if (this.#missing > 0) {
        if (at === chunk.length) return;
        at = this.#takePayload(chunk, at);
        continue;
      }
      const next = this.#takeHeader(chunk, at);
      if (next < 0) return;
      at = next;
    }
  }

  /** Returns the offset after the header, or -1 when the chunk ended before it. */
  #takeHeader(chunk: Uint8Array, at: number): number {
    if (this.#headerBytes === 0 && chunk.length - at >= HEADER_BYTES) {
      this.#begin(chunk, at);
      return at + HEADER_BYTES;
    }
    const taken = Math.min(HEADER_BYTES - this.#headerBytes, chunk.length - at);
    if (taken === 0) return -1;
    this.#header.set(chunk.subarray(at, at + taken), this.#headerBytes);
    this.#headerBytes += taken;
    if (this.#headerBytes < HEADER_BYTES) return -1;
    this.#headerBytes = 0;
    this.#begin(this.#header, 0);
    return at + taken;
  }

  #begin(bytes: Uint8Array, at: number): void {
    const b = bytes;
    this.#type = b[at]!;
    this.#flags = b[at + 1]!;
    this.#channel = (b[at + 2]! << 8) | b[at + 3]!;
    this.#stream = ((b[at + 4]! << 24) | (b[at + 5]! << 16) | (b[at + 6]! << 8) | b[at + 7]!) >>> 0;
    this.#length = ((b[at + 8]! << 24) | (b[at + 9]! << 16) | (b[at + 10]! << 8) | b[at + 11]!) >>> 0;
    if (this.#type === 0) throw new FrameError('frame of type 0');
    checkLength(this.#type, this.#length);
    this.#missing = this.#length;
    if (this.#type === FrameType.DATA)
      this.#keepGoing(this.#sink.dataHeader(this.#channel, this.#stream, this.#length));
    else if (this.#length === 0) this.#deliver(EMPTY);
  }

  #takePayload(chunk: Uint8Array, at: number): number {
    const end = Math.min(chunk.length, at + this.#missing);
    const bytes = at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end);
    this.#missing -= end - at;
    if (this.#type === FrameType.DATA) this.#keepGoing(this.#sink.dataBytes(bytes));
    else if (this.#missing === 0 && this.#partial === null) this.#deliver(bytes);
    else {
      this.#keep(bytes);
      if (this.#missing === 0) this.#deliverPartial();
    }
    return end;
  }

  #keep(bytes: Uint8Array): void {
    const needed = this.#partialBytes + bytes.length;
    if (this.#partial === null || needed > this.#partial.length) {
      const grown = new Uint8Array(Math.min(this.#length, Math.max(needed, 2 * (this.#partial?.length ?? 2048))));
      if (this.#partial !== null) grown.set(this.#partial.subarray(0, this.#partialBytes));
      this.#partial = grown;
    }
    this.#partial.set(bytes, this.#partialBytes);
    this.#partialBytes = needed;
  }

  #deliverPartial(): void {
    const whole = this.#partial!.subarray(0, this.#length);
    this.#partial = null;
    this.#partialBytes = 0;
    this.#deliver(whole);
  }

  #deliver(payload: Uint8Array): void {
    this.#keepGoing(this.#sink.control(this.#type, this.#flags, this.#channel, this.#stream, payload));
  }

  #keepGoing(more: boolean): void {
    if (!more) this.#stopped = true;
  }
}
