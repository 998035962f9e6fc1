/**
 * The gateways of one service. All are equivalent: one is used until it fails or accepts no more work, then another.
 * Each client starts with a random one, so that many clients spread over them.
 */

/** How long a failed gateway is left alone while there is another. */
const REST_MS = 5_000;

export interface EndpointsOptions {
  random?: () => number;
  /** Monotonic milliseconds. */
  now?: () => number;
}

export class Endpoints {
  readonly urls: readonly string[];
  readonly #now: () => number;
  readonly #restUntil: number[];
  #at: number;
  /** One of them has answered, whatever the answer: the service exists. */
  answered = false;

  /** @param urls at least one, each without a trailing slash */
  constructor(urls: readonly string[], { random = Math.random, now = () => performance.now() }: EndpointsOptions = {}) {
    this.urls = urls;
    this.#now = now;
    this.#restUntil = urls.map(() => -Infinity);
    this.#at = Math.floor(random() * urls.length);
  }

  /** The one to use now. */
  get current(): string {
    return this.urls[this.#at] ?? '';
  }

  /**
   * This one cannot be reached, or accepts no more work: another is current from now on.
   * @returns whether that one is worth trying at once; false: all have failed recently.
   */
  failed(url: string): boolean {
    const now = this.#now();
    const failed = this.urls.indexOf(url);
    if (failed >= 0) this.#restUntil[failed] = now + REST_MS;
    // Another call has noticed before, and switched.
    if (failed !== this.#at && this.#rested(this.#at) <= now) return true;
    for (let step = 1; step < this.urls.length; step++) {
      const next = (this.#at + step) % this.urls.length;
      if (this.#rested(next) > now) continue;
      this.#at = next;
      return true;
    }
    this.#at = this.#restUntil.indexOf(Math.min(...this.#restUntil));
    return false;
  }

  #rested(at: number): number {
    return this.#restUntil[at] ?? 0;
  }
}
