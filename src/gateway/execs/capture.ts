/** One output channel of a blocking exec: keeps the first bytes up to a cap, counts and drops the rest. */
import { ByteAccumulator } from '../../lib/byte-accumulator.ts';
import { endOfCharacters } from '../../lib/end-of-characters.ts';

export class Capture {
  readonly #cap: number;
  readonly #bytes = new ByteAccumulator();
  #kept = 0;
  /** Offset of the next byte. */
  received = 0;
  #lost = false;

  constructor(cap: number) {
    this.#cap = cap;
  }

  /** Takes bytes that are valid only during the call. */
  push(bytes: Uint8Array): void {
    this.received += bytes.length;
    const room = this.#cap - this.#kept;
    if (room <= 0) return;
    const kept = bytes.subarray(0, room);
    this.#bytes.push(kept);
    this.#kept += kept.length;
  }

  /** Bytes up to this offset were discarded before they arrived. */
  lost(to: number): void {
    this.#lost = true;
    this.received = Math.max(this.received, to);
  }

  get truncated(): boolean {
    return this.#lost || this.received > this.#kept;
  }

  /** What was kept. Call once. */
  takeText(encoding: 'utf8' | 'base64'): string {
    const bytes = Buffer.concat(this.#bytes.take());
    if (encoding === 'base64') return bytes.toString('base64');
    return (this.truncated ? bytes.subarray(0, endOfCharacters(bytes)) : bytes).toString('utf8');
  }
}
