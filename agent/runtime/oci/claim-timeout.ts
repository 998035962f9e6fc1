/**
 * How long claiming a blank may take. A blank that was stopped or frozen from outside never answers: it must cost a
 * create only a few times the usual claim time, and a slow claim on a busy node must not be mistaken for one.
 */
import { Linked } from '../../../src/lib/deadline.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';

const LEAST_MS = 2_000;
const MOST_MS = 30_000;
/** Multiple of the slowest recent claim. */
const FACTOR = 5;
/** A timed-out claim counts with this part of its time: the node may be slow, but the blank may have been stopped. */
const GIVEN_UP = 0.5;
/** Decay of the slowest claim's time with each later claim. */
const KEPT = 0.9;
/** CPU time that each other claim in progress may take meanwhile. */
const EACH_OTHER_MS = 20;
const LOOK_EVERY_MS = 100;

export class ClaimTimeout {
  #slowestMs = 0;
  #open = 0;

  /** The current limit: it grows while other claims turn out to be slow. */
  get limitMs(): number {
    const others = Math.max(0, this.#open - 1) * EACH_OTHER_MS;
    return Math.min(MOST_MS, Math.max(LEAST_MS, this.#slowestMs * FACTOR) + others);
  }

  /** Runs a claim. @throws ServiceError `deadline_exceeded` on timeout, or what the claim throws. */
  async bound<T>(signal: AbortSignal | undefined, claim: (signal: AbortSignal) => Promise<T>): Promise<T> {
    using linked = new Linked({ signal });
    let tookMs = 0;
    // Counts ticks rather than time: while this process itself is stalled, no answer can be received.
    const looks = setInterval(() => {
      tookMs += LOOK_EVERY_MS;
      if (tookMs < this.limitMs) return;
      linked.abort(new ServiceError('deadline_exceeded', `a claim was not answered within ${tookMs} ms`));
    }, LOOK_EVERY_MS);
    this.#open += 1;
    let counts = GIVEN_UP;
    try {
      const result = await claim(linked.signal);
      counts = 1;
      return result;
    } finally {
      clearInterval(looks);
      this.#open -= 1;
      // On a node that is merely slow, the next claim gets more time, and the third as much as it needs.
      this.#slowestMs = Math.max(tookMs * counts, this.#slowestMs * KEPT);
    }
  }
}
