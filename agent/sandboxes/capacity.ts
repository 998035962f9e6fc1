/** Whether the node has room for another sandbox. */
import { readFileSync } from 'node:fs';
import { freemem, totalmem } from 'node:os';
import { ServiceError } from '../../src/protocol/errors.ts';

interface CapacityLimits {
  maxSandboxes: number;
  memoryOvercommit: number;
  minFreeMemoryMb: number;
  /** The largest disk a sandbox can have, if known. */
  maxDiskMb?: number | undefined;
}

const MIB = 1024 * 1024;
const REFRESH_MS = 500;

export class Capacity {
  readonly totalMb = Math.floor(totalmem() / MIB);
  readonly #limits: CapacityLimits;
  #promisedMb = 0;
  #sandboxes = 0;
  #freeMb = 0;
  #readAtMs = Number.NEGATIVE_INFINITY;
  /** Whether a sandbox was refused since `onRoom` was last called. */
  #refused = false;
  readonly #onRoom: () => void;

  /** @param onRoom called when room appears after a refusal; must not throw */
  constructor(limits: CapacityLimits, onRoom: () => void = () => undefined) {
    this.#limits = limits;
    this.#onRoom = onRoom;
  }

  get sandboxes(): number {
    return this.#sandboxes;
  }

  /** Memory available for placement: free memory less the reserve. */
  get freeMb(): number {
    return Math.max(0, this.#available() - this.#limits.minFreeMemoryMb);
  }

  /**
   * @throws ServiceError `capacity_exhausted` that names the limit reached; `invalid_request` for a disk that the node
   * could not hold even when empty.
   */
  reserve({ memoryMb, diskMb }: { memoryMb: number; diskMb: number | null }): void {
    const { maxDiskMb = Infinity, maxSandboxes, memoryOvercommit, minFreeMemoryMb } = this.#limits;
    if (diskMb !== null && diskMb > maxDiskMb)
      throw new ServiceError('invalid_request', `diskMb: the node's disk has only ${maxDiskMb} MiB in all`);
    if (this.#sandboxes >= maxSandboxes) throw this.#full(`the node holds ${maxSandboxes} sandboxes`);
    if (this.#promisedMb + memoryMb > this.totalMb * memoryOvercommit)
      throw this.#full('all of its memory is committed');
    if (this.#available() < minFreeMemoryMb) throw this.#full('too little memory is free');
    this.take(memoryMb);
  }

  /** Counts an existing sandbox without checking for room. */
  take(memoryMb: number): void {
    this.#sandboxes += 1;
    this.#promisedMb += memoryMb;
  }

  release(memoryMb: number): void {
    this.#sandboxes -= 1;
    this.#promisedMb -= memoryMb;
    if (!this.#refused) return;
    this.#refused = false;
    this.#onRoom();
  }

  #full(why: string): ServiceError {
    this.#refused = true;
    return new ServiceError('capacity_exhausted', `no room: ${why}`);
  }

  #available(): number {
    const now = performance.now();
    if (now - this.#readAtMs > REFRESH_MS) {
      this.#freeMb = readAvailableMb();
      this.#readAtMs = now;
    }
    return this.#freeMb;
  }
}

/** Free memory, including what the kernel can reclaim at once. */
function readAvailableMb(): number {
  try {
    const match = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'));
    if (match?.[1] !== undefined) return Math.floor(Number(match[1]) / 1024);
  } catch {
    // Not Linux.
  }
  return Math.floor(freemem() / MIB);
}
