/** Allocates the addresses of an agent's sandboxes. */
import { ServiceError } from '../../../../src/protocol/errors.ts';
import { dotted, sizeOf, type Range } from './ranges.ts';

/** The network's own address, and the bridge's. */
const RESERVED = 2;

export class Addresses {
  readonly #range: Range;
  readonly #size: number;
  readonly #used = new Set<number>();
  #next = RESERVED;

  constructor(range: Range) {
    this.#range = range;
    this.#size = sizeOf(range.prefix);
  }

  /**
   * The least recently used address, so that connections of its previous holder have ended.
   * @throws ServiceError `capacity_exhausted`.
   */
  take(): string {
    for (let tried = RESERVED; tried < this.#size - 1; tried += 1) {
      const host = this.#next;
      this.#next = host + 1 >= this.#size - 1 ? RESERVED : host + 1;
      if (this.#used.has(host)) continue;
      this.#used.add(host);
      return dotted(this.#range.first + host);
    }
    throw new ServiceError('capacity_exhausted', 'all addresses of this node are in use');
  }

  /** Marks the address of an earlier agent's sandbox as used. */
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
