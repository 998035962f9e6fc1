/** Output of a session on its way to the one client that listens: what is not taken holds up the program. */
import { ServiceError } from '../../../../protocol/errors.ts';

export type Channel = 'stdout' | 'stderr' | 'pty';

export type Event =
  | { kind: 'data'; channel: Channel; bytes: Buffer }
  | { kind: 'end'; exitCode: number; signal: string | null }
  | { kind: 'keepalive' };

const KEEPALIVE_MS = 20_000;

export class Output {
  readonly #queue: { channel: Channel; bytes: Buffer; taken: () => void }[] = [];
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
   * Takes bytes that are valid only during the call.
   * @param taken Called when a client has taken them.
   */
  push(channel: Channel, bytes: Uint8Array, taken: () => void): void {
    this.#queue.push({ channel, bytes: Buffer.from(bytes), taken });
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
    // Whoever aborts may never ask for the event after the last: they listen no more, wherever this stands.
    const left = (): void => {
      if (this.#listener === me) this.#listener = null;
      this.#wake?.();
    };
    signal.addEventListener('abort', left);
    try {
      for (;;) {
        if (signal.aborted) return;
        if (this.#listener !== me)
          throw new ServiceError('cancelled', 'Another stream of this session has taken over.');
        const first = this.#queue[0];
        if (first !== undefined) {
          // A client that goes away while it is handed this has not taken it: the next one gets it.
          yield { kind: 'data', channel: first.channel, bytes: first.bytes };
          if (this.#queue[0] === first) {
            this.#queue.shift();
            first.taken();
          }
        } else if (this.#end !== null) {
          yield this.#end;
          return;
        } else if (this.#error !== null) throw this.#error;
        else if (!(await this.#something())) yield { kind: 'keepalive' };
      }
    } finally {
      signal.removeEventListener('abort', left);
      left();
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
