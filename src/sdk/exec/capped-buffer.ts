/** Collects the bytes of one channel up to a cap, in a few large chunks however small the writes are. */
const MIN_CHUNK_BYTES = 4 * 1024;
const MAX_CHUNK_BYTES = 1024 * 1024;

export class CappedBuffer {
  readonly #maxBytes: number;
  #chunks: Buffer[] = [];
  /** Bytes used of the last chunk. */
  #used = 0;
  bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get full(): boolean {
    return this.bytes >= this.#maxBytes;
  }

  /** Copies what still fits. */
  add(data: Uint8Array): void {
    let rest = data.subarray(0, this.#maxBytes - this.bytes);
    while (rest.length > 0) {
      let last = this.#chunks.at(-1);
      if (last === undefined || this.#used === last.length) {
        if (last === undefined) last = Buffer.allocUnsafe(rest.length);
        else last = Buffer.allocUnsafe(Math.max(MIN_CHUNK_BYTES, Math.min(MAX_CHUNK_BYTES, this.bytes)));
        this.#chunks.push(last);
        this.#used = 0;
      }
      const n = Math.min(rest.length, last.length - this.#used);
      last.set(n === rest.length ? rest : rest.subarray(0, n), this.#used);
      this.#used += n;
      this.bytes += n;
      rest = rest.subarray(n);
    }
  }

  toBuffer(): Buffer {
    const [only] = this.#chunks;
    if (this.#chunks.length === 1 && only !== undefined) return only.subarray(0, this.#used);
    return Buffer.concat(this.#chunks, this.bytes);
  }
}
