/**
 * Whether a node's failures in a row keep new sandboxes away from it for a while. After that while it is on trial: it
 * gets one sandbox, and how that fares decides.
 */

const MAX_FAILURES = 5;
const FIRST_EJECTION_MS = 15_000;
const MAX_EJECTION_MS = 300_000;
/** A trial of which nothing is heard for so long says nothing: an image may take its time. */
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

  /** No sandbox goes there: it is out, or its trial is under way. */
  get ejected(): boolean {
    return this.ejectedMs > 0;
  }

  /** Milliseconds until it is tried again; 0 when it is not ejected. */
  get ejectedMs(): number {
    return Math.max(0, Math.max(this.#ejectedUntil, this.#trialUntil) - this.#now());
  }

  /** A sandbox goes there. Of a node on trial no other does until it is known how this one fares. */
  sent(): void {
    if (this.#ejections > 0 && !this.ejected) this.#trialUntil = this.#now() + TRIAL_MS;
  }

  /** What was sent there tells nothing of the node: it had no room, or the sandbox was not wanted any more. */
  unsettled(): void {
    this.#trialUntil = 0;
  }

  /** Something worked: all is forgiven. */
  ok(): void {
    this.#failures = 0;
    this.#ejections = 0;
    this.#ejectedUntil = 0;
    this.#trialUntil = 0;
  }

  /** One failure on trial ejects the node again, for longer. Whether it is ejected by this one. */
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
