/** One answer per idempotency key. In memory for one gateway; several share it through a store of the same form. */

export interface IdempotentCall {
  /** Operation and tenant: keys of different scopes never meet. */
  scope: string;
  key: string;
  /** What was asked for. Another request under the same key is a conflict. */
  request: unknown;
  /**
   * How the request is written (see `formOf`), for stores that gateways of several versions share. Requests of two forms
   * under one key are taken for the same: what was done for the key stands, and nothing is done twice.
   */
  form?: string;
  /** Whether what comes of this seed is known here, for stores that may lose how often a key has failed. */
  made?: (seed: string) => boolean;
}

/**
 * What the call is to be done with. `seed` is new for each attempt of a key that failed before, and otherwise the same
 * on every gateway: whatever is named after it is made once, even where the work is done twice because a gateway stood
 * still or died in the middle of it.
 */
export type IdempotentWork<T> = (seed: string) => Promise<T>;

export interface IdempotencyStore {
  /**
   * Runs the work once per key, and answers later calls with what it came to. Calls at the same time share it. Work
   * that failed leaves the key free. The answer is JSON.
   * @throws ServiceError `idempotency_conflict`, `rate_limited` when too many keys are in use, or what the work threw.
   */
  run<T>(call: IdempotentCall, work: IdempotentWork<T>): Promise<T>;
}
