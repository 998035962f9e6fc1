/** Chooses an address range for an agent's sandboxes that nothing else on this machine uses. */
import { createHash } from 'node:crypto';
import { ServiceError } from '../../../../src/protocol/errors.ts';

/** 4,096 addresses each, out of 10.208.0.0/12. */
const PREFIX = 20;
const RANGES = 256;
const BASE = 0x0ad0_0000;
/** The widest range that may be configured. */
const WIDEST = 12;
const NARROWEST = 29;

export interface Range {
  /** `10.208.16.0/20` */
  subnet: string;
  /** The bridge's address, and every sandbox's gateway: `10.208.16.1` */
  gateway: string;
  prefix: number;
  first: number;
}

/** @throws ServiceError `invalid_request` if it is not a network such as `10.9.0.0/16`. */
export function parseRange(subnet: string): Range {
  const [, address = '', length = ''] = /^(\d{1,3}(?:\.\d{1,3}){3})\/(\d{1,2})$/.exec(subnet) ?? [];
  const bytes = address.split('.').map(Number);
  const prefix = Number(length);
  const first = bytes.reduce((sum, byte) => sum * 256 + byte, 0);
  const whole = first % sizeOf(prefix) === 0;
  if (address === '' || bytes.some((byte) => byte > 255) || prefix < WIDEST || prefix > NARROWEST || !whole) {
    throw new ServiceError(
      'invalid_request',
      `"${subnet.slice(0, 50)}" is not a network from /${WIDEST} to /${NARROWEST}`,
    );
  }
  return rangeAt(first, prefix);
}

/**
 * A range that no route of this machine covers. If the bridge exists, its range.
 * @param tag distinguishes agents
 * @param routes the content of /proc/net/route
 */
export function rangeFor(tag: string, bridge = '', routes = ''): Range {
  const known = parseRoutes(routes);
  const own = known.find(({ device, prefix }) => device === bridge && prefix === PREFIX);
  if (own !== undefined) return rangeAt(own.first, own.prefix);
  const pick = createHash('sha256').update(tag).digest().readUInt16BE(0);
  const others = known.filter(({ device, prefix }) => device !== bridge && prefix > 0);
  for (let next = 0; next < RANGES; next += 1) {
    const range = rangeAt(BASE + ((pick + next) % RANGES) * sizeOf(PREFIX), PREFIX);
    if (!others.some((other) => overlap(range, other))) return range;
  }
  return rangeAt(BASE + (pick % RANGES) * sizeOf(PREFIX), PREFIX);
}

export const sizeOf = (prefix: number): number => 2 ** (32 - prefix);

export function dotted(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');
}

function rangeAt(first: number, prefix: number): Range {
  return { subnet: `${dotted(first)}/${prefix}`, gateway: dotted(first + 1), prefix, first };
}

interface Block {
  first: number;
  prefix: number;
}

function overlap(a: Block, b: Block): boolean {
  return a.first < b.first + sizeOf(b.prefix) && b.first < a.first + sizeOf(a.prefix);
}

/** Addresses and masks are in host byte order; all supported machines are little-endian. */
function parseRoutes(text: string): (Block & { device: string })[] {
  const number = (hex: string): number => Buffer.from(hex, 'hex').readUInt32LE(0);
  return text
    .split('\n')
    .map((line) => line.split('\t'))
    .filter((fields) => /^[0-9A-F]{8}$/.test(fields[1] ?? '') && /^[0-9A-F]{8}$/.test(fields[7] ?? ''))
    .map(([device = '', destination = '', , , , , , mask = '']) => {
      const prefix = number(mask).toString(2).replaceAll('0', '').length;
      return { device, first: number(destination), prefix };
    });
}
