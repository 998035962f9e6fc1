/** Passes what is typed here, or comes from a pipe, to a terminal in a sandbox. */
import type { ReadStream } from 'node:tty';
import { DetachKeys } from './detach-key.ts';

/** Above this many bytes that the program has not read, no more is read here either. */
const MAX_WAITING_BYTES = 1024 * 1024;
/** Ctrl-P is also a key of shells and editors: one not followed by Ctrl-Q this soon is passed on. */
const HELD_KEY_MS = 500;
const END_AGAIN_MS = 1_000;
const ENTER = Uint8Array.of(13);
const CTRL_D = Uint8Array.of(4);
const LINE_ENDS: ReadonlySet<number | undefined> = new Set([undefined, 10, 13]);

/** How the user left: by the detach keys, or because the window was closed. */
export type Left = 'detached' | 'hung up';

export class TerminalInput implements Disposable {
  readonly #stdin: ReadStream;
  readonly #type: (bytes: Uint8Array) => Promise<void>;
  readonly #keys = new DetachKeys();
  readonly #left = Promise.withResolvers<Left>();
  #waiting = 0;
  #last: number | undefined;
  #held: NodeJS.Timeout | undefined;
  #ending: NodeJS.Timeout | undefined;
  #disposed = false;

  /** @param type sends the bytes, and resolves once they are on their way */
  constructor(stdin: ReadStream, type: (bytes: Uint8Array) => Promise<void>) {
    this.#stdin = stdin;
    this.#type = type;
    stdin.on('data', this.#onData);
    stdin.on('end', this.#onEnd);
    stdin.on('error', this.#onEnd);
  }

  /** Resolves when the user leaves. */
  get left(): Promise<Left> {
    return this.#left.promise;
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    clearTimeout(this.#held);
    clearInterval(this.#ending);
    this.#stdin.off('data', this.#onData);
    this.#stdin.off('end', this.#onEnd);
    this.#stdin.off('error', this.#onEnd);
    this.#stdin.pause();
  }

  readonly #onData = (typed: Buffer): void => {
    // Only a user has detach keys: in a file they are bytes like any others.
    if (!this.#stdin.isTTY) return this.#send(typed);
    clearTimeout(this.#held);
    const { pass, detach } = this.#keys.take(typed);
    this.#send(pass);
    if (detach) this.#left.resolve('detached');
    if (this.#keys.holding) this.#held = setTimeout(() => this.#send(this.#keys.release()), HELD_KEY_MS);
  };

  /**
   * A pipe ends for good, but a Ctrl-D is read once: so it is typed again until the program ends. In the middle of a
   * line Ctrl-D does not end the input, so the line is completed first.
   */
  readonly #onEnd = (): void => {
    if (this.#stdin.isTTY) return this.#left.resolve('hung up');
    if (this.#ending !== undefined) return;
    if (!LINE_ENDS.has(this.#last)) this.#send(ENTER);
    this.#send(CTRL_D);
    this.#ending = setInterval(() => {
      if (this.#waiting === 0) this.#send(CTRL_D);
    }, END_AGAIN_MS);
  };

  #send(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#last = bytes.at(-1);
    this.#waiting += bytes.length;
    if (this.#waiting > MAX_WAITING_BYTES) this.#stdin.pause();
    const done = (): void => {
      this.#waiting -= bytes.length;
      if (this.#waiting <= MAX_WAITING_BYTES && !this.#disposed) this.#stdin.resume();
    };
    this.#type(bytes).then(done, done);
  }
}
