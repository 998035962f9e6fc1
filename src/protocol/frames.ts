/**
 * The frame of every hop: a 12-byte big-endian header, then the payload.
 *
 *   type u8 · flags u8 · channel u16 · stream u32 · length u32
 *
 * The layout is frozen. `docs/protocol.md` says what each type means; `test/golden/frames.json` holds this codec and
 * boxinit's together.
 */
import { MAX_CONTROL_BYTES, MAX_DATA_BYTES } from './limits.ts';

export const HEADER_BYTES = 12;

export const FrameType = {
  /** Stream 0. JSON `Hello`; the first frame in each direction. */
  HELLO: 1,
  /** Opens a stream. JSON request. */
  OPEN: 2,
  /** The opener's request was accepted. JSON answer. */
  OPENED: 3,
  /** The opener's request was refused. JSON `WireError`. The stream is gone. */
  REFUSED: 4,
  /** Bytes of one channel. Costs credit of the stream and of the link. */
  DATA: 5,
  /** u32: more credit for the stream, or for the link on stream 0. */
  CREDIT: 6,
  /** JSON message within a stream: exit, signal, resize, progress. Costs no credit. */
  EVENT: 7,
  /** No more data on this channel; on channel `ALL`, nothing more except credit. */
  FIN: 8,
  /** The stream is gone, in both directions, at once. JSON `WireError`. */
  RESET: 9,
  /** Stream 0. The payload comes back in a PONG. */
  PING: 10,
  PONG: 11,
  /** Stream 0. The sender takes no new streams; open ones continue. */
  GOAWAY: 12,
} as const;
export type FrameType = (typeof FrameType)[keyof typeof FrameType];

/** Set on a frame of a type that a receiver may ignore if it does not know it. */
export const FLAG_OPTIONAL = 0x01;

export const Channel = {
  STDIN: 0,
  STDOUT: 1,
  STDERR: 2,
  PTY: 3,
  /** The text of a script that is too long for an argument. */
  SCRIPT: 4,
  /** The bytes of a file, an archive or a tunnel. */
  BYTES: 5,
  /** In a FIN: all channels of the direction. */
  ALL: 0xffff,
} as const;

export interface Frame {
  type: number;
  flags: number;
  channel: number;
  stream: number;
  payload: Uint8Array;
}

/** A peer broke the rules of the wire. The link cannot continue. */
export class FrameError extends Error {
  override readonly name = 'FrameError';
}

/** Writes a header into `out` at `offset`. */
export function writeHeader(
  out: Uint8Array,
  offset: number,
  type: number,
  flags: number,
  channel: number,
  stream: number,
  length: number,
): void {
  out[offset] = type;
  out[offset + 1] = flags;
  out[offset + 2] = channel >>> 8;
  out[offset + 3] = channel & 0xff;
  out[offset + 4] = stream >>> 24;
  out[offset + 5] = (stream >>> 16) & 0xff;
  out[offset + 6] = (stream >>> 8) & 0xff;
  out[offset + 7] = stream & 0xff;
  out[offset + 8] = length >>> 24;
  out[offset + 9] = (length >>> 16) & 0xff;
  out[offset + 10] = (length >>> 8) & 0xff;
  out[offset + 11] = length & 0xff;
}

/** One complete frame as bytes. */
export function encodeFrame(frame: Frame): Uint8Array {
  const out = new Uint8Array(HEADER_BYTES + frame.payload.length);
  writeHeader(out, 0, frame.type, frame.flags, frame.channel, frame.stream, frame.payload.length);
  out.set(frame.payload, HEADER_BYTES);
  return out;
}

/** @throws FrameError when the length exceeds the limit for frames of this type. */
export function checkLength(type: number, length: number): void {
  const max = type === FrameType.DATA ? MAX_DATA_BYTES : MAX_CONTROL_BYTES;
  if (length > max) throw new FrameError(`frame of type ${type} announces ${length} bytes; at most ${max} are allowed`);
}
