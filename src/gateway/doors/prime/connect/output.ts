/** Output of a session for its one attached client. A client that does not read blocks the program. */
import { ByteAccumulator } from '../../../../lib/byte-accumulator.ts';
import { ServiceError } from '../../../../protocol/errors.ts';
import { MAX_DATA_BYTES } from '../../../../protocol/limits.ts';

export type Channel = 'stdout' | 'stderr' | 'pty';

export type Event =
  | { kind: 'data'; channel: Channel; bytes: Buffer }
  | { kind: 'end'; exitCode: number; signal: string | null }
  | { kind: 'keepalive' };

const KEEPALIVE_MS = 20_000;

/** The content of one event. */
class Piece {
  readonly channel: Channel;
  readonly taken: (bytes: number) => void;
  length = 0;
  readonly #gathered = new ByteAccumulator();
  #whole: Buffer | null = null;

  constructor(channel: Channel, taken: (bytes: number) => void) {
    this.channel = channel;
    this.taken = taken;
  }

  /** Whether more of the same kind fits. Once `bytes` was read, a listener may have seen it. */
  takes(channel: Channel, length: number, taken: (bytes: number) => void): boolean {
    const same = this.channel === channel && this.taken === taken;
    return same && this.#whole === null && this.length + length <= MAX_DATA_BYTES;
  }

  add(bytes: Uint8Array): void {
    this.#gathered.push(bytes);
    this.length += bytes.length;
  }

  get bytes(): Buffer {
    if (this.#whole === null) {
      const [first = Buffer.alloc(0), ...more] = this.#gathered.take();
      this.#whole = more.length === 0 ? first : Buffer.concat([first, ...more]);
    }
    return this.#whole;
  }
}

export class Output {
  readonly #queue: Piece[] = [];
  #end: Extract<Event, { kind: 'end' }> | null = null;
  #error: ServiceError | null = null;
  #listener: object | null = null;
  #wake: (() => void) | null = null;

  get over(): boolean {
    return this.#end !== null || this.#error !== null;
  }

  get listening(): boolean {
    return this.#listener !== null;
  }

  /**
   * Takes bytes that are valid only during the call. Waiting bytes of one channel with the same `taken` are merged.
   * @param taken called with the number of bytes a client has taken
   */
  push(channel: Channel, bytes: Uint8Array, taken: (bytes: number) => void): void {
    let last = this.#queue.at(-1);
    if (last?.takes(channel, bytes.length, taken) !== true) {
      last = new Piece(channel, taken);
      this.#queue.push(last);
    }
    last.add(bytes);
    this.#wake?.();
  }

  finish(exitCode: number, signal: string | null): void {
    this.#end ??= { kind: 'end', exitCode, signal };
    this.#wake?.();
  }

  fail(error: ServiceError): void {
    this.#error ??= error;
    this.#wake?.();
  }

  /**
   * Queued and future output, then the end, which every listener gets. A new listener takes over from the previous one:
   * a client has two streams only while the first one is broken and has not noticed it yet.
   * @throws ServiceError `cancelled` when another listener takes over, or the error of the session
   */
  async *listen(signal: AbortSignal): AsyncGenerator<Event> {
    const me = {};
    this.#listener = me;
    this.#wake?.();
    // An aborted reader may never resume this generator, so it stops being the listener right here.
    const left = (): void => {
      if (this.#listener === me) this.#listener = null;
      this.#wake?.();
    };
    signal.addEventListener('abort', left);
    try {
      for (;;) {
        if (signal.aborted) return;
        if (this.#listener !== me) throw new ServiceError('cancelled', 'another stream of this session has taken over');
        const first = this.#queue[0];
        if (first !== undefined) {
          // If the client goes away during this yield it has not taken the bytes: the next listener gets them.
          yield { kind: 'data', channel: first.channel, bytes: first.bytes };
          if (this.#queue[0] === first) {
            this.#queue.shift();
            first.taken(first.length);
          }
        } else if (this.#end !== null) {
          yield this.#end;
          return;
        } else if (this.#error !== null) throw this.#error;
        else if (!(await this.#activity())) yield { kind: 'keepalive' };
      }
    } finally {
      signal.removeEventListener('abort', left);
      left();
    }
  }

  /** Resolves with false when nothing has arrived for a while. */
  async #activity(): Promise<boolean> {
    const woken = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => woken.resolve(false), KEEPALIVE_MS);
    this.#wake = () => woken.resolve(true);
    try {
      return await woken.promise;
    } finally {
      clearTimeout(timer);
    }
  }
}
