/**
 * Calls of one reader of a command that were cut off before their answer. The network may still have one of them and bring
 * it late, also over a gateway that the reader has left. The runner then gives the command to a stream that nobody listens
 * to any more, and tells the reader that another has taken it over: once for each such call.
 */
import { LOST } from './cuts.ts';
import type { ServiceError } from './errors.ts';

export class Strays {
  #count = 0;
  #unanswered = false;

  /** An OPEN goes out. */
  asked(): void {
    this.#unanswered = true;
  }

  /** It was answered: it has arrived. */
  answered(): void {
    this.#unanswered = false;
  }

  /** The stream ended with this. True for a takeover that may be the doing of a stray: the reader takes the command back. */
  ended(error: ServiceError): boolean {
    if (this.#unanswered && LOST.has(error.code)) this.#count += 1;
    this.#unanswered = false;
    if (error.code !== 'cancelled' || this.#count === 0) return false;
    this.#count -= 1;
    return true;
  }
}
