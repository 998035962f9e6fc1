/** One answer per idempotency key: kept in memory for a single gateway, in Redis for several. */

export interface IdempotentCall {
  /** Operation and tenant: keys of different scopes never meet. */
  scope: string;
  key: string;
  /** The request. A different one under the same key is a conflict. */
  request: unknown;
  /**
   * Schema of the request (see `formOf`), for stores that gateways of different versions share. Requests with different
   * forms under one key count as equal: the first result stands, and nothing is done twice.
   */
  form?: string;
  /**
   * Whether the result of this seed is known here, for stores that may lose the count of failed attempts. `anew`: only
   * a result created after an earlier one of the same seed was taken back.
   */
  made?: (seed: string, anew: boolean) => boolean;
  /**
   * Whether failed work with this seed had begun something and took it back, so that the next attempt needs another
   * seed. Otherwise the next attempt keeps the seed, and any gateway that cannot ask the store arrives at the same
   * result with it. Absent: always.
   */
  spent?: (seed: string) => boolean;
}

/**
 * The work of a call. `seed` is the same on every gateway, and new after an attempt that is `spent`: ids derived from
 * it are created once, even if the work runs twice because a gateway stalled or died midway. `isUnchecked`: the shared
 * store could not be asked, so another gateway may have answered the same call.
 */
export type IdempotentWork<T> = (seed: string, isUnchecked: boolean) => Promise<T>;

export interface IdempotencyStore {
  /**
   * Runs the work once per key, and answers later calls with its result, which is JSON. Concurrent calls share it. Work
   * that fails leaves the key free.
   * @param signal ends the wait for an answer that another call is working on, but not the work
   * @throws ServiceError `idempotency_conflict`, `rate_limited` when too many keys are in use, what the work threw, or
   * the signal's reason.
   */
  run<T>(call: IdempotentCall, work: IdempotentWork<T>, signal?: AbortSignal): Promise<T>;
}
