/**
 * The framing of RFC 6455 as far as a stream of binary messages needs it. Payload is handed on as it arrives: whole
 * messages are never gathered, since their boundaries mean nothing here.
 */

export const Opcode = { CONTINUATION: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 } as const;

/** Longest header: two bytes, a 64-bit length and a mask. */
export const MAX_WS_HEADER_BYTES = 14;
const MAX_CONTROL_PAYLOAD_BYTES = 125;

/** The peer broke RFC 6455. `status` is the code to close with. */
export class WebSocketError extends Error {
  override readonly name = 'WebSocketError';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface WebSocketSink {
  /** Bytes of binary messages, valid only during the call. False stops the reader for good. */
  bytes(chunk: Uint8Array): boolean;
  /** A ping, a pong or a close, with its payload. False stops the reader for good. */
  control(opcode: number, payload: Uint8Array): boolean;
}

export class WebSocketReader {
  readonly #sink: WebSocketSink;
  /** Frames of clients are masked, frames of servers are not. */
  readonly #expectMask: boolean;
  readonly #header = new Uint8Array(MAX_WS_HEADER_BYTES);
  #headerBytes = 0;
  #opcode = 0;
  #missing = 0;
  #masked = false;
  readonly #key = new Uint8Array(4);
  /** Of payload bytes seen in this frame, modulo 4. */
  #maskAt = 0;
  /** Between the first and the last fragment of a message. */
  #inMessage = false;
  #controlPayload: number[] = [];
  #stopped = false;

  constructor(sink: WebSocketSink, expectMask: boolean) {
    this.#sink = sink;
    this.#expectMask = expectMask;
  }

  /** Takes a chunk, whose bytes it may change. @throws WebSocketError */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (!this.#stopped && at < chunk.length) {
      at = this.#missing > 0 ? this.#takePayload(chunk, at) : this.#takeHeader(chunk, at);
    }
  }

  #takeHeader(chunk: Uint8Array, at: number): number {
    const header = this.#header;
    let needed = this.#headerLength();
    while (this.#headerBytes < needed) {
      if (at === chunk.length) return at;
      header[this.#headerBytes++] = chunk[at++]!;
      needed = this.#headerLength();
    }
    this.#headerBytes = 0;
    this.#begin(needed);
    return at;
  }

  /** How long the header is, as far as what has come of it tells. */
  #headerLength(): number {
    if (this.#headerBytes < 2) return 2;
    const second = this.#header[1]!;
    const short = second & 0x7f;
    return 2 + (short === 126 ? 2 : short === 127 ? 8 : 0) + ((second & 0x80) !== 0 ? 4 : 0);
  }

  #begin(headerLength: number): void {
    const header = this.#header;
    const first = header[0]!;
    const final = (first & 0x80) !== 0;
    const opcode = first & 0x0f;
    this.#masked = (header[1]! & 0x80) !== 0;
    if ((first & 0x70) !== 0) throw new WebSocketError(1002, 'reserved bits are set');
    if (this.#masked !== this.#expectMask) throw new WebSocketError(1002, 'a frame with the mask of the other side');
    const length = payloadLength(header);
    if (opcode >= 8) {
      if (!final || length > MAX_CONTROL_PAYLOAD_BYTES) throw new WebSocketError(1002, 'a control frame too long');
      if (opcode > Opcode.PONG) throw new WebSocketError(1002, `opcode ${opcode}`);
    } else {
      if (opcode === Opcode.TEXT) throw new WebSocketError(1003, 'text is not understood here');
      if (opcode > Opcode.BINARY) throw new WebSocketError(1002, `opcode ${opcode}`);
      if ((opcode === Opcode.CONTINUATION) !== this.#inMessage)
        throw new WebSocketError(1002, 'fragments out of order');
      this.#inMessage = !final;
    }
    this.#opcode = opcode;
    this.#missing = length;
    if (this.#masked) {
      this.#key.set(header.subarray(headerLength - 4, headerLength));
      this.#maskAt = 0;
      // A key of zeros changes nothing.
      if (this.#key.every((byte) => byte === 0)) this.#masked = false;
    }
    if (length === 0 && opcode >= 8) this.#deliverControl();
  }

  #takePayload(chunk: Uint8Array, at: number): number {
    const end = Math.min(chunk.length, at + this.#missing);
    const bytes = at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end);
    this.#missing -= bytes.length;
    if (this.#masked) {
      applyMask(bytes, this.#key, this.#maskAt);
      this.#maskAt = (this.#maskAt + bytes.length) & 3;
    }
    if (this.#opcode >= 8) {
      this.#controlPayload.push(...bytes);
      if (this.#missing === 0) this.#deliverControl();
    } else if (!this.#sink.bytes(bytes)) this.#stopped = true;
    return end;
  }

  #deliverControl(): void {
    const payload = Uint8Array.from(this.#controlPayload);
    this.#controlPayload = [];
    if (!this.#sink.control(this.#opcode, payload)) this.#stopped = true;
  }
}

function payloadLength(header: Uint8Array): number {
  const short = header[1]! & 0x7f;
  if (short < 126) return short;
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  if (short === 126) return view.getUint16(2);
  const high = view.getUint32(2);
  if (high > 0x1f_ffff) throw new WebSocketError(1009, 'a message of more than 2^53 bytes');
  return high * 2 ** 32 + view.getUint32(6);
}

const UTF8 = new TextDecoder('utf-8', { fatal: true });

/**
 * Code and reason of a close frame; null: it gives none.
 * @throws WebSocketError if half a code was sent, one that may only be said by an API and never on the wire (1005, say),
 * or a reason that is no text
 */
export function readClose(payload: Uint8Array): { code: number; reason: string } | null {
  if (payload.length === 0) return null;
  if (payload.length === 1) throw new WebSocketError(1002, 'half a close code');
  const code = (payload[0]! << 8) | payload[1]!;
  if (!mayBeSent(code)) throw new WebSocketError(1002, `close code ${code}`);
  try {
    return { code, reason: UTF8.decode(payload.subarray(2)) };
  } catch {
    throw new WebSocketError(1007, 'the reason of a close is not UTF-8');
  }
}

/** Those that RFC 6455 and its registry define for the wire, and those that are for libraries and applications. */
function mayBeSent(code: number): boolean {
  if (code >= 3000) return code <= 4999;
  return code >= 1000 && code <= 1014 && code !== 1004 && code !== 1005 && code !== 1006;
}

/** The payload of a close frame, with as many whole characters of the reason as there is room for. */
export function closePayload(code: number, reason: string): Uint8Array {
  const payload = new Uint8Array(MAX_CONTROL_PAYLOAD_BYTES);
  payload.set([code >>> 8, code & 0xff]);
  const { written } = new TextEncoder().encodeInto(reason, payload.subarray(2));
  return payload.subarray(0, 2 + written);
}

/** XORs `bytes` with the four-byte key, beginning `at` bytes into it. */
export function applyMask(bytes: Uint8Array, key: Uint8Array, at: number): void {
  let i = 0;
  // Byte by byte to where words are aligned, and again at the end.
  while (i < bytes.length && ((bytes.byteOffset + i) & 3) !== 0) {
    bytes[i]! ^= key[(at + i) & 3]!;
    i += 1;
  }
  const words = (bytes.length - i) >>> 2;
  if (words > 0) {
    const turned = Uint8Array.of(
      key[(at + i) & 3]!,
      key[(at + i + 1) & 3]!,
      key[(at + i + 2) & 3]!,
      key[(at + i + 3) & 3]!,
    );
    const wordKey = new Uint32Array(turned.buffer)[0]!;
    const view = new Uint32Array(bytes.buffer, bytes.byteOffset + i, words);
    for (let w = 0; w < words; w++) view[w]! ^= wordKey;
    i += words * 4;
  }
  for (; i < bytes.length; i++) bytes[i]! ^= key[(at + i) & 3]!;
}

/**
 * Writes the header of an unfragmented frame so that it ends at `end` in `out`.
 * @param key the mask of a client's frame
 * @returns where the header begins
 */
export function writeHeaderBefore(
  out: Uint8Array,
  end: number,
  opcode: number,
  length: number,
  key: Uint8Array | null,
): number {
  const lengthBytes = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const start = end - 2 - lengthBytes - (key === null ? 0 : 4);
  out[start] = 0x80 | opcode;
  out[start + 1] = (key === null ? 0 : 0x80) | (lengthBytes === 0 ? length : lengthBytes === 2 ? 126 : 127);
  const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
  if (lengthBytes === 2) view.setUint16(start + 2, length);
  else if (lengthBytes === 8) {
    view.setUint32(start + 2, Math.floor(length / 2 ** 32));
    view.setUint32(start + 6, length >>> 0);
  }
  if (key !== null) out.set(key, end - 4);
  return start;
}
