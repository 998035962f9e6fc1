/**
 * Bytes waiting to be taken. Small pieces are merged into larger ones: an object for each would take a hundred times
 * the memory of its content.
 */

/** Buffers for small pieces grow up to this size. */
const MAX_ROOM_BYTES = 16 * 1024;

export class ByteAccumulator {
  #full: Buffer[] = [];
  #last: Buffer | null = null;
  /** Bytes used of the last one. */
  #used = 0;

  get empty(): boolean {
    return this.#last === null;
  }

  /** Copies the bytes. */
  push(bytes: Uint8Array): void {
    let rest = bytes;
    let roomBytes = 0;
    if (this.#last !== null) {
      const fits = Math.min(rest.length, this.#last.length - this.#used);
      this.#last.set(rest.subarray(0, fits), this.#used);
      this.#used += fits;
      rest = rest.subarray(fits);
      roomBytes = Math.min(MAX_ROOM_BYTES, 2 * this.#last.length);
    }
    if (rest.length === 0) return;
    if (this.#last !== null) this.#full.push(this.#last);
    // A single piece gets no spare room: usually nothing follows before it is taken.
    this.#last = Buffer.allocUnsafe(Math.max(rest.length, roomBytes));
    this.#last.set(rest);
    this.#used = rest.length;
  }

  /** All bytes so far, which then belong to the caller. */
  take(): Buffer[] {
    if (this.#last === null) return [];
    const all = [...this.#full, this.#last.subarray(0, this.#used)];
    this.#full = [];
    this.#last = null;
    this.#used = 0;
    return all;
  }
}
