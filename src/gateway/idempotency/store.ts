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
  /** Whether the result of this seed is known here, for stores that may lose the count of failed attempts. */
  made?: (seed: string) => boolean;
}

/**
 * The work of a call. `seed` is new for each attempt after a failure, and otherwise the same on every gateway: ids that
 * derive from it are created once, even if the work runs twice because a gateway stalled or died in the middle.
 */
export type IdempotentWork<T> = (seed: string) => Promise<T>;

export interface IdempotencyStore {
  /**
   * Runs the work once per key, and answers later calls with its result, which is JSON. Concurrent calls share it. Work
   * that fails leaves the key free.
   * @throws ServiceError `idempotency_conflict`, `rate_limited` when too many keys are in use, or what the work threw.
   */
  run<T>(call: IdempotentCall, work: IdempotentWork<T>): Promise<T>;
}
