/** Bytes that arrive on a stream, for a reader that takes them at its own pace. */
import type { Credit } from './exec/output-buffer.ts';

interface Chunk {
  bytes: Buffer;
  credit: Credit;
}

export class Chunks {
  #queue: Chunk[] = [];
  #end: { error: Error | null } | null = null;
  #wake: (() => void) | null = null;

  /** Takes bytes that are valid only during the call. The queue is bounded by the credit that has not been returned. */
  push(bytes: Uint8Array, credit: Credit): void {
    this.#queue.push({ bytes: Buffer.from(bytes), credit });
    this.#wake?.();
  }

  /** Bytes pushed before are still read. */
  end(error: Error | null): void {
    this.#end ??= { error };
    this.#wake?.();
  }

  /** The next bytes, or null at the end. @throws what it ended with. */
  async next(): Promise<Buffer | null> {
    for (;;) {
      const chunk = this.#queue.shift();
      if (chunk !== undefined) {
        chunk.credit.consume(chunk.bytes.length);
        return chunk.bytes;
      }
      if (this.#end !== null) {
        if (this.#end.error !== null) throw this.#end.error;
        return null;
      }
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = null;
    }
  }
}
