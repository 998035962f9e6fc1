/** A pool's target size, from its claim rate and start time. */

/** Time constant of the claim rate: a claim this old counts for about a third. */
const RATE_WINDOW_MS = 10_000;
/** Weight of the latest start in the moving average. */
const LAUNCH_WEIGHT = 0.2;
/** Claims come in bursts; the mean alone would be too few half of the time. */
const HEADROOM = 2;

export interface DemandBounds {
  floor: number;
  ceiling: number;
}

/** Little's law: the claims that arrive during one refill, times headroom. Times are monotonic. */
export class Demand {
  /** Lower bound of the target, unless the ceiling is lower still. */
  floor: number;
  readonly #ceiling: number;
  #perSecond = 0;
  #updatedAtMs = 0;
  #launchMs: number | null = null;

  constructor({ floor, ceiling }: DemandBounds) {
    this.floor = floor;
    this.#ceiling = ceiling;
  }

  claimed(nowMs: number): void {
    this.#perSecond = this.rate(nowMs) + 1_000 / RATE_WINDOW_MS;
    this.#updatedAtMs = nowMs;
  }

  launched(tookMs: number): void {
    this.#launchMs = this.#launchMs === null ? tookMs : this.#launchMs + LAUNCH_WEIGHT * (tookMs - this.#launchMs);
  }

  /** Claims per second. */
  rate(nowMs: number): number {
    return this.#perSecond * Math.exp(-Math.max(0, nowMs - this.#updatedAtMs) / RATE_WINDOW_MS);
  }

  /** What the claims during one refill take. */
  needed(nowMs: number): number {
    return Math.round((this.rate(nowMs) * (this.#launchMs ?? 0) * HEADROOM) / 1_000);
  }

  target(nowMs: number): number {
    return Math.min(this.#ceiling, Math.max(this.floor, this.needed(nowMs)));
  }
}
