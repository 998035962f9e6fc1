/** Leader election: work that only one of all gateways does. */

export interface Leader {
  /** Whether this gateway leads, as far as it knows. Another one may have taken over a moment ago. */
  readonly leading: boolean;
  /**
   * Runs the work periodically while this gateway leads, one run at a time. Writes that a deposed leader must not make
   * pass `term` along (see `FENCE`). A failed run is logged; one that Redis did not answer is logged only if that
   * persists.
   */
  every(ms: number, what: string, work: (term: number) => Promise<void>): void;
  /** Gives up leadership, so that another gateway can take it at once. */
  stop(): Promise<void>;
}
