/** Whether a node's failures in a row keep new sandboxes away from it for a while. */

const MAX_FAILURES = 5;
const FIRST_EJECTION_MS = 15_000;
const MAX_EJECTION_MS = 300_000;

export class Health {
  readonly #now: () => number;
  #failures = 0;
  #ejections = 0;
  #ejectedUntil = 0;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get ejected(): boolean {
    return this.#now() < this.#ejectedUntil;
  }

  /** Milliseconds until it is tried again; 0 when it is not ejected. */
  get ejectedMs(): number {
    return Math.max(0, this.#ejectedUntil - this.#now());
  }

  /** Something worked: all is forgiven. */
  ok(): void {
    this.#failures = 0;
    this.#ejections = 0;
    this.#ejectedUntil = 0;
  }

  /** Once its time is over, one more failure ejects the node again, for longer. Whether it is ejected by this one. */
  failed(): boolean {
    if (this.ejected) return false;
    this.#failures += 1;
    if (this.#failures < (this.#ejections === 0 ? MAX_FAILURES : 1)) return false;
    this.#ejectedUntil = this.#now() + Math.min(MAX_EJECTION_MS, FIRST_EJECTION_MS * 2 ** this.#ejections);
    this.#ejections += 1;
    this.#failures = 0;
    return true;
  }
}
