/**
 * How long a claim of a blank may take. A blank that is stopped or frozen from outside never answers; it must cost a
 * create a few times what a claim takes, and a claim on a busy node must not be mistaken for one of these.
 */
import { Linked } from '../../../src/lib/deadline.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';

const LEAST_MS = 2_000;
const MOST_MS = 30_000;
/** Times the slowest claim of late. */
const FACTOR = 5;
/** One that was given up counts as so much of the time it took: the node may be slow, but it may have been stopped. */
const GIVEN_UP = 0.5;
/** Of that slowest one, what each later claim leaves. */
const KEPT = 0.9;
/** What each other claim in progress may take of the processors meanwhile. */
const EACH_OTHER_MS = 20;
const LOOK_EVERY_MS = 100;

export class ClaimPatience {
  #slowestMs = 0;
  #open = 0;

  /** As it is now: it grows while other claims turn out to be slow. */
  get limitMs(): number {
    const others = Math.max(0, this.#open - 1) * EACH_OTHER_MS;
    return Math.min(MOST_MS, Math.max(LEAST_MS, this.#slowestMs * FACTOR) + others);
  }

  /** Runs a claim. @throws ServiceError `deadline_exceeded` when patience is over, or what the claim throws. */
  async bound<T>(signal: AbortSignal | undefined, claim: (signal: AbortSignal) => Promise<T>): Promise<T> {
    using linked = new Linked({ signal });
    let tookMs = 0;
    // Looks are counted, not time: while this process itself is stalled, no answer can be received.
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
      // On a node that is merely slow, the next gets more time, and the third what it needs.
      this.#slowestMs = Math.max(tookMs * counts, this.#slowestMs * KEPT);
    }
  }
}
