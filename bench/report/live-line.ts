/** Shows the progress of a run: one changing line on a terminal, an occasional line in a log. */
import type { WriteStream } from 'node:tty';

/** Interval between two lines in a log. */
const LOG_EVERY_MS = 5_000;
const CLEAR_LINE = '\r\u001b[K';

export type LiveStream = Pick<WriteStream, 'write'> & { isTTY?: boolean; columns?: number };

export class LiveLine {
  readonly #stream: LiveStream;
  readonly #now: () => number;
  #shown = false;
  #loggedAt = -Infinity;

  constructor(stream: LiveStream, now: () => number = () => performance.now()) {
    this.#stream = stream;
    this.#now = now;
  }

  /** A permanent line. */
  line(text: string): void {
    this.clear();
    this.#stream.write(`${text}\n`);
  }

  /** A line that the next one replaces. */
  status(text: string): void {
    if (this.#stream.isTTY === true) {
      // A line that wraps cannot be erased.
      this.#stream.write(`${CLEAR_LINE}${text.slice(0, (this.#stream.columns ?? 80) - 1)}`);
      this.#shown = true;
      return;
    }
    const now = this.#now();
    if (now - this.#loggedAt < LOG_EVERY_MS) return;
    this.#loggedAt = now;
    this.#stream.write(`${text}\n`);
  }

  clear(): void {
    if (!this.#shown) return;
    this.#stream.write(CLEAR_LINE);
    this.#shown = false;
  }
}
