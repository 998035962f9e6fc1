/**
 * A circuit breaker for one node. Repeated failures eject it: it gets no new sandboxes for a while. After that it is on
 * trial: it gets one sandbox, whose outcome decides.
 */

const MAX_FAILURES = 5;
const FIRST_EJECTION_MS = 15_000;
const MAX_EJECTION_MS = 300_000;
/** A trial without an outcome after this long is inconclusive: pulling an image may take a while. */
const TRIAL_MS = 20_000;

export class Health {
  readonly #now: () => number;
  #failures = 0;
  #ejections = 0;
  #ejectedUntil = 0;
  #trialUntil = 0;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** It gets no sandboxes: it is ejected, or its trial is under way. */
  get ejected(): boolean {
    return this.ejectedMs > 0;
  }

  /** Milliseconds until the next trial; 0 when it is not ejected. */
  get ejectedMs(): number {
    return Math.max(0, Math.max(this.#ejectedUntil, this.#trialUntil) - this.#now());
  }

  /** A sandbox was sent there. A node on trial gets no other until the outcome of this one is known. */
  sent(): void {
    if (this.#ejections > 0 && !this.ejected) this.#trialUntil = this.#now() + TRIAL_MS;
  }

  /** The outcome reveals nothing about the node: it had no room, or the sandbox was deleted. */
  unsettled(): void {
    this.#trialUntil = 0;
  }

  /** A sandbox started: resets everything. */
  ok(): void {
    this.#failures = 0;
    this.#ejections = 0;
    this.#ejectedUntil = 0;
    this.#trialUntil = 0;
  }

  /** A single failure on trial ejects the node again, for longer. @returns whether this failure ejected it */
  failed(): boolean {
    this.#trialUntil = 0;
    if (this.#now() < this.#ejectedUntil) return false;
    this.#failures += 1;
    if (this.#failures < (this.#ejections === 0 ? MAX_FAILURES : 1)) return false;
    this.#ejectedUntil = this.#now() + Math.min(MAX_EJECTION_MS, FIRST_EJECTION_MS * 2 ** this.#ejections);
    this.#ejections += 1;
    this.#failures = 0;
    return true;
  }
}
