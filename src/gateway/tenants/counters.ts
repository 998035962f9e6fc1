/**
 * Counts per tenant that gateways share. Sandboxes on nodes are not part of them: every gateway sees those for itself.
 * A single gateway keeps the counts in memory; several share them in a store. Both obey one contract
 * (counters-contract.ts).
 */

/** What a tenant uses, or may use, of each limited resource. CPUs in thousandths, so that sums stay exact. */
export interface Usage {
  sandboxes: number;
  milliCpus: number;
  memoryMb: number;
}

export const USAGE_KINDS = ['sandboxes', 'milliCpus', 'memoryMb'] as const satisfies readonly (keyof Usage)[];

/** An admitted sandbox that no node has confirmed yet: it waits for room, or is being sent. */
export interface Claim {
  id: string;
  milliCpus: number;
  memoryMb: number;
}

/**
 * What a gateway knows of the sandbox of a claim. placed: a node has it, and it is counted there. open: it waits, or is
 * being sent. unknown: this gateway has never heard of it.
 */
export type Seen = 'placed' | 'ended' | 'open' | 'unknown';

/** A token bucket: see rate.ts for its exact rule. */
export interface Rate {
  perSecond: number;
  /** An integer, at least 1. */
  burst: number;
}

export interface AdmissionRequest {
  tenant: string;
  /** One for each sandbox of a create. All are admitted, or none. */
  claims: readonly Claim[];
  /**
   * Limits for the tenant's claims, over all gateways. Null: unlimited. Evaluated at the same moment as `seen`.
   */
  room: Readonly<Record<keyof Usage, number | null>>;
  /** Null: unlimited. */
  rate: Rate | null;
  /** A claim that nobody releases expires after this long: its gateway may have died. */
  keptMs: number;
  /** What the asking gateway knows itself, so that nothing is counted twice. */
  seen: (id: string) => Seen;
}

/**
 * `short` names the exhausted limit; nothing was recorded then. `claimed` is the sum of existing claims, `waitMs` the
 * time until the rate would admit this request. Resources are checked before the rate.
 */
export type Verdict =
  | { admitted: true }
  | { admitted: false; short: keyof Usage; claimed: number }
  | { admitted: false; short: 'rate'; waitMs: number };

/** What one gateway sees of the tenants' usage on the nodes. */
export interface UsageSnapshot {
  /** How many nodes it is connected to. */
  nodes: number;
  /** Tenants that have limits and at least one sandbox. */
  usage: ReadonlyMap<string, Usage>;
}

/** Never rejects or throws: without its store, an implementation decides by what its own gateway knows. */
export interface TenantCounters {
  /**
   * Records the claims and takes as many tokens, atomically across gateways. A claim replaces an earlier one of the
   * same id.
   */
  admit(request: AdmissionRequest): Promise<Verdict>;
  /** A node has these. Their claims count a moment longer, for gateways that do not know it yet. Ids may be unknown. */
  placed(tenant: string, ids: readonly string[]): void;
  /** These have ended, or were never created. Ids may be unknown. */
  release(tenant: string, ids: readonly string[]): void;
  /**
   * Sends the number of each tenant's commands on this gateway, and returns the sums over all others, as far as known.
   * Called about once a second, never while a command waits. A report is valid for a few seconds, so that a dead
   * gateway is forgotten.
   */
  exchangeRunning(running: ReadonlyMap<string, number>): Promise<ReadonlyMap<string, number>>;
  /** Sends this gateway's snapshot and returns those of the others. Called and valid as `exchangeRunning`. */
  exchangeUsage(snapshot: UsageSnapshot): Promise<readonly UsageSnapshot[]>;
  stop(): Promise<void>;
}
