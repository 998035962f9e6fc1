/** Addresses of the sandboxes of one agent: a range of its own, so that several agents of a machine do not meet. */
import { createHash } from 'node:crypto';
import { ServiceError } from '../../../../src/protocol/errors.ts';

/** 4,096 addresses each, out of 10.208.0.0/12. */
const PREFIX = 20;
const RANGES = 256;
const BASE = 0x0ad0_0000;
const HOSTS = 2 ** (32 - PREFIX);
/** The network's own address, and the bridge's. */
const RESERVED = 2;

export interface Range {
  /** `10.208.16.0/20` */
  subnet: string;
  /** The bridge's address, and every sandbox's gateway: `10.208.16.1` */
  gateway: string;
  prefix: number;
  first: number;
}

/** @param tag tells agents apart. */
export function rangeFor(tag: string): Range {
  const pick = createHash('sha256').update(tag).digest().readUInt16BE(0) % RANGES;
  const first = BASE + pick * HOSTS;
  return { subnet: `${dotted(first)}/${PREFIX}`, gateway: dotted(first + 1), prefix: PREFIX, first };
}

export class Addresses {
  readonly #range: Range;
  readonly #used = new Set<number>();
  #next = RESERVED;

  constructor(range: Range) {
    this.#range = range;
  }

  /** The one that was given back longest ago, so that a connection of the last holder meets nobody. @throws ServiceError `capacity_exhausted`. */
  take(): string {
    for (let tried = RESERVED; tried < HOSTS - 1; tried += 1) {
      const host = this.#next;
      this.#next = host + 1 >= HOSTS - 1 ? RESERVED : host + 1;
      if (this.#used.has(host)) continue;
      this.#used.add(host);
      return dotted(this.#range.first + host);
    }
    throw new ServiceError('capacity_exhausted', 'all addresses of this node are in use');
  }

  /** Of a sandbox that was here before this agent. */
  adopt(address: string): void {
    this.#used.add(this.#hostOf(address));
  }

  giveBack(address: string): void {
    this.#used.delete(this.#hostOf(address));
  }

  #hostOf(address: string): number {
    const bytes = address.split('.').map(Number);
    return bytes.reduce((sum, byte) => sum * 256 + byte, 0) - this.#range.first;
  }
}

function dotted(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');
}
