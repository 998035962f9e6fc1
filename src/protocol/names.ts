/**
 * File names are bytes, and need not be UTF-8. As text, each stray byte 0x80-0xff is the lone surrogate U+DC80-U+DCFF,
 * as with Python's `surrogateescape`: so every name survives JSON, and is restored byte for byte.
 */
import { ServiceError } from './errors.ts';

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const STRAY_BYTE = /[\udc80-\udcff]/gu;
/** A lone surrogate that stands for no byte. */
const NO_BYTE = /[\ud800-\udc7f\udd00-\udfff]/gu;

export const isName = (text: string): boolean => text.isWellFormed() || text.search(NO_BYTE) < 0;

export function nameOfBytes(bytes: Uint8Array): string {
  const whole = decoded(bytes);
  if (whole !== undefined) return whole;
  let name = '';
  for (let at = 0; at < bytes.length;) {
    const length = characterLength(bytes[at]!);
    const character = decoded(bytes.subarray(at, at + length));
    name += character ?? String.fromCharCode(0xdc00 | bytes[at]!);
    at += character === undefined ? 1 : length;
  }
  return name;
}

/** @throws ServiceError `invalid_request` for text that does not stand for bytes */
export function bytesOfName(name: string): Buffer {
  if (name.isWellFormed()) return Buffer.from(name, 'utf8');
  if (!isName(name)) throw new ServiceError('invalid_request', 'a name contains a surrogate that stands for no byte');
  const parts: Buffer[] = [];
  let from = 0;
  for (const { index, 0: stray } of name.matchAll(STRAY_BYTE)) {
    parts.push(Buffer.from(name.slice(from, index), 'utf8'), Buffer.of(stray.charCodeAt(0) & 0xff));
    from = index + 1;
  }
  return Buffer.concat([...parts, Buffer.from(name.slice(from), 'utf8')]);
}

/** As `bytesOfName`, for any text: what stands for no bytes becomes U+FFFD, as when boxinit reads JSON. */
export function bytesOfText(text: string): Buffer {
  return bytesOfName(text.isWellFormed() ? text : text.replace(NO_BYTE, '\ufffd'));
}

/** Length of a text in bytes, counting a lone surrogate that stands for a byte as one; in UTF-8 it would take three. */
export const byteLengthOf = (text: string): number =>
  Buffer.byteLength(text) - 2 * (text.isWellFormed() ? 0 : (text.match(STRAY_BYTE)?.length ?? 0));

/** Encodes a name for a URL. @throws ServiceError `invalid_request`, as `bytesOfName` */
export function encodeName(name: string): string {
  return name.isWellFormed() ? encodeURIComponent(name) : bytesOfName(name).toString('hex').replace(/../g, '%$&');
}

/** Undefined for bytes that are not UTF-8. */
function decoded(bytes: Uint8Array): string | undefined {
  try {
    return UTF8.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Length in bytes of the UTF-8 character that begins with this byte. */
function characterLength(first: number): number {
  if (first < 0xc0) return 1;
  if (first < 0xe0) return 2;
  return first < 0xf0 ? 3 : 4;
}
