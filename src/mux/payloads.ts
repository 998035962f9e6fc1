/** Payloads of control frames. */
import { isUtf8 } from 'node:buffer';
import { ServiceError } from '../protocol/errors.ts';
import { MAX_CONTROL_BYTES } from '../protocol/limits.ts';
import type { Json } from './types.ts';

export const EMPTY = new Uint8Array(0);

export function encodeJson(message: object): Uint8Array {
  return Buffer.from(JSON.stringify(message));
}

/** Of an error that quotes more than fits into a frame, its code. */
export function encodeError(error: ServiceError): Uint8Array {
  const whole = encodeJson(error.toWire());
  if (whole.length <= MAX_CONTROL_BYTES) return whole;
  const { code, retryAfterMs } = error;
  return encodeJson(new ServiceError(code, undefined, { retryAfterMs }).toWire());
}

export function encodeU32(value: number): Uint8Array {
  const out = new Uint8Array(4);
  new DataView(out.buffer).setUint32(0, value);
  return out;
}

/** Undefined for anything but one JSON object in UTF-8: decoded leniently, another would contain other names than were sent. */
export function parseJson(payload: Uint8Array): Json | undefined {
  if (!isUtf8(payload)) return undefined;
  try {
    const text = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString('utf8');
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
  } catch {
    return undefined;
  }
}

/** 0 for a payload that is not four bytes: zero credit breaks the rules. */
export function readU32(payload: Uint8Array): number {
  if (payload.length !== 4) return 0;
  return new DataView(payload.buffer, payload.byteOffset, 4).getUint32(0);
}
