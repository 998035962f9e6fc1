/** Watches the bytes of one direction of a link with an independent codec, and keeps track of credit. */
import { FrameType } from '../../src/protocol/frames.ts';
import { LINK_WINDOW_BYTES, STREAM_WINDOW_BYTES } from '../../src/protocol/limits.ts';
import type { Transport } from '../../src/mux/index.ts';

export interface Seen {
  type: number;
  channel: number;
  stream: number;
  payload: Buffer;
}

/** What one side has sent, and its remaining credit as computed by an outside observer. */
export class Direction {
  readonly frames: Seen[] = [];
  readonly spent = new Map<number, number>();
  readonly granted = new Map<number, number>();
  #rest: Buffer = Buffer.alloc(0);

  /** Takes bytes as they leave. Credit sent by `other` counts from when it was sent. */
  take(bytes: Uint8Array, other: Direction): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    while (this.#rest.length >= 12) {
      const length = this.#rest.readUInt32BE(8);
      if (this.#rest.length < 12 + length) return;
      const frame: Seen = {
        type: this.#rest.readUInt8(0),
        channel: this.#rest.readUInt16BE(2),
        stream: this.#rest.readUInt32BE(4),
        payload: Buffer.from(this.#rest.subarray(12, 12 + length)),
      };
      this.#rest = this.#rest.subarray(12 + length);
      this.frames.push(frame);
      this.#book(frame, other);
    }
  }

  creditOf(stream: number, other: Direction): number {
    const window = stream === 0 ? LINK_WINDOW_BYTES : STREAM_WINDOW_BYTES;
    return window + (other.granted.get(stream) ?? 0) - (this.spent.get(stream) ?? 0);
  }

  #book(frame: Seen, other: Direction): void {
    if (frame.type === FrameType.CREDIT) {
      this.granted.set(frame.stream, (this.granted.get(frame.stream) ?? 0) + frame.payload.readUInt32BE(0));
      return;
    }
    if (frame.type !== FrameType.DATA) return;
    for (const id of [frame.stream, 0]) {
      this.spent.set(id, (this.spent.get(id) ?? 0) + frame.payload.length);
      if (this.creditOf(id, other) < 0) throw new Error(`stream ${id} sent beyond its credit`);
    }
  }
}

/** A transport that passes everything it sends to `seen`. */
export function watched(inner: Transport, seen: (bytes: Uint8Array) => void): Transport {
  return {
    send: (bytes, sent) => {
      seen(bytes);
      inner.send(bytes, sent);
    },
    start: (onBytes, onClose) => inner.start(onBytes, onClose),
    close: (error) => inner.close(error),
  };
}
