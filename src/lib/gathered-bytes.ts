/**
 * Bytes that wait for somebody to take them. Small pieces are gathered into larger ones: an object for each would take
 * a hundred times the memory of what it holds.
 */

/** Room for small pieces grows up to this. */
const MAX_ROOM_BYTES = 16 * 1024;

export class GatheredBytes {
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
    // A single piece gets no room: most often nothing follows before it is taken.
    this.#last = Buffer.allocUnsafe(Math.max(rest.length, roomBytes));
    this.#last.set(rest);
    this.#used = rest.length;
  }

  /** All bytes so far, which are then the caller's. */
  take(): Buffer[] {
    if (this.#last === null) return [];
    const all = [...this.#full, this.#last.subarray(0, this.#used)];
    this.#full = [];
    this.#last = null;
    this.#used = 0;
    return all;
  }
}
