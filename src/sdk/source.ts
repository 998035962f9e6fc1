/** Data that callers may pass to be written. Anything else is refused before anything is sent. */

/** A string, bytes, or an iterable of either, such as a Node or web stream. */
export type ByteSource = Bytes | AsyncIterable<Bytes> | Iterable<Bytes>;
export type Bytes = string | ArrayBuffer | ArrayBufferView;

/** A checked source: bytes in memory, or a stream. */
export type Source = Uint8Array | AsyncIterable<Uint8Array>;

/**
 * Checks a source before anything is sent, and converts data in memory to bytes.
 * @throws TypeError
 */
export function readSource(source: ByteSource): Source {
  const atHand = bytesOf(source);
  if (atHand !== undefined) return atHand;
  if (isIterable(source)) return piecesOf(source);
  throw new TypeError('a source must be a string, bytes, or an iterable of either');
}

export const isSource = (value: unknown): value is ByteSource =>
  typeof value === 'string' || value instanceof ArrayBuffer || ArrayBuffer.isView(value) || isIterable(value);

function isIterable(value: unknown): value is AsyncIterable<Bytes> | Iterable<Bytes> {
  return typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || Symbol.iterator in value);
}

async function* piecesOf(source: AsyncIterable<Bytes> | Iterable<Bytes>): AsyncGenerator<Uint8Array> {
  for await (const piece of source) yield readPiece(piece);
}

/** Bytes are shared, not copied. @throws TypeError */
export function readPiece(piece: Bytes): Uint8Array {
  const bytes = bytesOf(piece);
  if (bytes === undefined) throw new TypeError(`a chunk of a source must be a string or bytes, not ${typeof piece}`);
  return bytes;
}

function bytesOf(value: unknown): Uint8Array | undefined {
  if (typeof value === 'string') return Buffer.from(value, 'utf8');
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  return ArrayBuffer.isView(value) ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : undefined;
}

export function toBase64({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('base64');
}
