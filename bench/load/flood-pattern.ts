/** The known bytes of the `flood` program: byte i is (i * 7 + floor(i / 256)) mod 251, which repeats after 256 * 251. */

const PERIOD = 256 * 251;
/** Long enough to contain any chunk of a stream, starting at any offset of the period. */
const PATTERN = Buffer.from(Uint8Array.from({ length: 80 * PERIOD }, (_, i) => (i * 7 + Math.floor(i / 256)) % 251));

/** Compares a stream with the pattern as it arrives: every byte, at memory speed, in constant memory. */
export class FloodCheck {
  bytes = 0;

  /** @throws Error at the first byte that differs. */
  take(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length;) {
      const start = (this.bytes + at) % PERIOD;
      const length = Math.min(chunk.length - at, PATTERN.length - start);
      if (PATTERN.compare(chunk, at, at + length, start, start + length) !== 0) {
        throw new Error(`a byte between ${this.bytes + at} and ${this.bytes + at + length} is wrong`);
      }
      at += length;
    }
    this.bytes += chunk.length;
  }
}

/** The pattern in chunks, `bytes` in total. The chunks are views of one buffer. */
export function* floodPieces(bytes: number, pieceBytes = 64 * 1024): Generator<Buffer> {
  for (let at = 0; at < bytes;) {
    const start = at % PERIOD;
    const length = Math.min(pieceBytes, bytes - at);
    yield PATTERN.subarray(start, start + length);
    at += length;
  }
}
