/** Two ends of a connection within one process, for tests: bytes in order, in chunks of any size, cut at will. */
import type { Transport } from './types.ts';

export interface MemoryOptions {
  /** Length of the next chunk to deliver, given how much remains. Everything at once when absent. */
  split?: (left: number) => number;
  /** When the next delivery happens. A microtask when absent. */
  schedule?: (deliver: () => void) => void;
  /**
   * The wire accepts everything at once, as one with large buffers does. Otherwise bytes are accepted when they arrive.
   */
  deep?: boolean;
}

export interface MemoryPair {
  a: Transport;
  b: Transport;
  /** Breaks the connection: what was sent but not delivered is lost. */
  cut(error?: Error): void;
}

export function memoryPair(options: MemoryOptions = {}): MemoryPair {
  const a = new MemoryEnd(options);
  const b = new MemoryEnd(options);
  a.peer = b;
  b.peer = a;
  return {
    a,
    b,
    cut: (error = new Error('cut')) => {
      a.end(error);
      b.end(error);
    },
  };
}

class MemoryEnd implements Transport {
  peer: MemoryEnd | null = null;
  readonly #options: MemoryOptions;
  #onBytes: ((chunk: Uint8Array) => void) | null = null;
  #onClose: ((error: Error | null) => void) | null = null;
  #waiting: { bytes: Uint8Array; sent: () => void }[] = [];
  #scheduled = false;
  #ended = false;

  constructor(options: MemoryOptions) {
    this.#options = options;
  }

  send(bytes: Uint8Array, sent: () => void): void {
    if (this.#ended) return;
    if (this.#options.deep) {
      this.#waiting.push({ bytes: new Uint8Array(bytes), sent: () => undefined });
      sent();
    } else this.#waiting.push({ bytes, sent });
    this.#schedule();
  }

  start(onBytes: (chunk: Uint8Array) => void, onClose: (error: Error | null) => void): void {
    this.#onBytes = onBytes;
    this.#onClose = onClose;
    if (this.peer !== null) this.peer.#schedule();
  }

  close(): void {
    if (this.#ended) return;
    // What was sent before still arrives, as over a socket.
    this.#deliverAll();
    this.end(null);
    this.peer?.end(null);
  }

  end(error: Error | null): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#waiting = [];
    this.#onClose?.(error);
  }

  #schedule(): void {
    if (this.#scheduled || this.#waiting.length === 0) return;
    this.#scheduled = true;
    (this.#options.schedule ?? queueMicrotask)(() => {
      this.#scheduled = false;
      if (this.peer !== null && this.peer.#onBytes !== null) this.#deliverOne();
      this.#schedule();
    });
  }

  #deliverAll(): void {
    while (this.#waiting.length > 0 && this.peer !== null && this.peer.#onBytes !== null) this.#deliverOne();
  }

  #deliverOne(): void {
    const next = this.#waiting.shift();
    if (next === undefined) return;
    let at = 0;
    while (at < next.bytes.length && !this.#ended) {
      const left = next.bytes.length - at;
      const n = Math.min(left, Math.max(1, this.#options.split?.(left) ?? left));
      // A copy that is overwritten afterwards: this exposes code that keeps the bytes without copying them.
      const piece = new Uint8Array(next.bytes.subarray(at, at + n));
      if (this.peer !== null) this.peer.#onBytes?.(piece);
      piece.fill(0xee);
      at += n;
    }
    if (!this.#ended) next.sent();
  }
}
