/** Output of a session on its way to the one client that listens: what is not taken holds up the program. */
import { ServiceError } from '../../../../protocol/errors.ts';

export type Channel = 'stdout' | 'stderr' | 'pty';

export type Event =
  | { kind: 'data'; channel: Channel; bytes: Buffer }
  | { kind: 'end'; exitCode: number; signal: string | null }
  | { kind: 'keepalive' };

const KEEPALIVE_MS = 20_000;

export class Output {
  readonly #queue: { channel: Channel; bytes: Buffer }[] = [];
  readonly #taken: (bytes: number) => void;
  #end: Extract<Event, { kind: 'end' }> | null = null;
  #error: ServiceError | null = null;
  #listener: object | null = null;
  #wake: (() => void) | null = null;

  /** @param taken Told how many bytes a client has taken. */
  constructor(taken: (bytes: number) => void) {
    this.#taken = taken;
  }

  get over(): boolean {
    return this.#end !== null || this.#error !== null;
  }

  get listening(): boolean {
    return this.#listener !== null;
  }

  push(channel: Channel, bytes: Uint8Array): void {
    this.#queue.push({ channel, bytes: Buffer.from(bytes) });
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
   * What is there and what comes, to the end, which is told to everybody who listens. Whoever listens anew takes over:
   * one client holds two streams only while the first is lost and does not know it yet.
   * @throws ServiceError `cancelled` after that, or what broke the session.
   */
  async *listen(signal: AbortSignal): AsyncGenerator<Event> {
    const me = {};
    this.#listener = me;
    this.#wake?.();
    const wake = (): void => this.#wake?.();
    signal.addEventListener('abort', wake);
    try {
      for (;;) {
        if (this.#listener !== me) throw new ServiceError('cancelled', 'Another stream of this session has taken over.');
        if (signal.aborted) return;
        const first = this.#queue[0];
        if (first !== undefined) {
          // A client that goes away while it is handed this has not taken it: the next one gets it.
          yield { kind: 'data', ...first };
          if (this.#queue[0] === first) {
            this.#queue.shift();
            this.#taken(first.bytes.length);
          }
        } else if (this.#end !== null) {
          yield this.#end;
          return;
        } else if (this.#error !== null) throw this.#error;
        else if (!(await this.#something())) yield { kind: 'keepalive' };
      }
    } finally {
      signal.removeEventListener('abort', wake);
      if (this.#listener === me) this.#listener = null;
    }
  }

  /** False: nothing has come for a while. */
  async #something(): Promise<boolean> {
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
