import { ServiceError } from '../../../protocol/errors.ts';

/** Eight clients' worth: each sends 8 MiB before it waits for answers. */
const MAX_BYTES = 64 * 1024 * 1024;
const RETRY_MS = 1_000;

/** The memory that requests of open streams take, by tenant: one may be of a megabyte, and a link has thousands. */
export class HeldRequests {
  readonly #bytes = new Map<string, number>();

  /** @returns what gives the bytes back @throws ServiceError `rate_limited` */
  hold(tenant: string, bytes: number): () => void {
    const held = this.#bytes.get(tenant) ?? 0;
    if (held + bytes > MAX_BYTES) {
      const message = `requests of ${MAX_BYTES} bytes have no answer, or have not been ended by the client`;
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
