/**
 * OPENs of one reader of a command that were cut off before their answer. One of them may still be in flight and arrive
 * late, even through a gateway that the reader has left. The runner then attaches the command to a stream that nobody
 * reads, and reports a takeover to the reader: once for each such OPEN.
 */
import { LOST } from './cuts.ts';
import type { ServiceError } from './errors.ts';

export class LateOpens {
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

  /**
   * The stream ended with this error. True for a takeover that such an OPEN may have caused: the reader attaches again.
   */
  ended(error: ServiceError): boolean {
    if (this.#unanswered && LOST.has(error.code)) this.#count += 1;
    this.#unanswered = false;
    if (error.code !== 'cancelled' || this.#count === 0) return false;
    this.#count -= 1;
    return true;
  }
}
