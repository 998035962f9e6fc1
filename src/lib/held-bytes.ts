import { ServiceError } from '../protocol/errors.ts';

const RETRY_MS = 1_000;

/** The memory that each tenant makes this process hold while something is waited for. */
export class HeldBytes {
  readonly #most: number;
  readonly #what: string;
  readonly #bytes = new Map<string, number>();

  /** @param most bytes of one tenant @param what for the refusal: "8388608 bytes of … already" */
  constructor(most: number, what: string) {
    this.#most = most;
    this.#what = what;
  }

  /** @returns what gives the bytes back, to be called once @throws ServiceError `rate_limited` */
  hold(tenant: string, bytes: number): () => void {
    const held = this.#bytes.get(tenant) ?? 0;
    if (held + bytes > this.#most) {
      const message = `${this.#most} bytes of ${this.#what} already`;
      throw new ServiceError('rate_limited', message, { retryAfterMs: RETRY_MS });
    }
    this.#bytes.set(tenant, held + bytes);
    return () => {
      const left = (this.#bytes.get(tenant) ?? 0) - bytes;
      if (left > 0) this.#bytes.set(tenant, left);
      else this.#bytes.delete(tenant);
    };
  }
}
