/** Work that one of all gateways does: whoever leads. */

export interface Leader {
  /** Whether this gateway leads now, as far as it knows. It may have been followed by another a moment ago. */
  readonly leading: boolean;
  /**
   * Does the work every so often while this gateway leads, one run at a time. What must not be done by a leader of
   * yesterday gives `term` with what it writes (see `FENCE`). The work never rejects for good: a failure is logged.
   */
  every(ms: number, what: string, work: (term: number) => Promise<void>): void;
  /** Lets go of the lead, so that another can have it at once. */
  stop(): Promise<void>;
}
