/**
 * What several gateways count together for each tenant. Sandboxes that a node has are not part of it: every gateway
 * sees all of those for itself. One gateway keeps these counts in memory; several share them through a store, in a form
 * that keeps the same contract (counters-contract.ts).
 */

/** What a tenant has, or may have, of each thing that is bounded. Thousandths of a cpu, so that sums stay exact. */
export interface Usage {
  sandboxes: number;
  milliCpus: number;
  memoryMb: number;
}

export const USAGE_KINDS = ['sandboxes', 'milliCpus', 'memoryMb'] as const satisfies readonly (keyof Usage)[];

/** A sandbox that was let in, and that no node has shown to have yet: it waits for room, or is being sent. */
export interface Claim {
  id: string;
  milliCpus: number;
  memoryMb: number;
}

/**
 * What a gateway knows of a sandbox that a claim stands for. placed: a node has it, and it is counted as that. open: it
 * waits, or is being sent. unknown: it has never been heard of here.
 */
export type Seen = 'placed' | 'ended' | 'open' | 'unknown';

/** A token bucket: see rate.ts for its exact rule. */
export interface Rate {
  perSecond: number;
  /** Whole, at least 1. */
  burst: number;
}

export interface Application {
  tenant: string;
  /** One for each sandbox of one create. All are let in, or none. */
  claims: readonly Claim[];
  /**
   * How much the claims of this tenant may come to, those of all gateways together. Null: there is no bound. Looked at in
   * the same moment as `seen`.
   */
  room: Readonly<Record<keyof Usage, number | null>>;
  /** Null: there is no bound. */
  rate: Rate | null;
  /** A claim that nobody releases is gone after this long: its gateway may have died. */
  keptMs: number;
  /** What the gateway that asks knows by itself: what it counts already is not counted twice. */
  seen: (id: string) => Seen;
}

/**
 * `short` names what there is too little of; nothing was written down then. `claimed` is what the claims come to already,
 * `waitMs` how long it takes until the rate would let this application in. Room is looked at before the rate.
 */
export type Verdict =
  | { admitted: true }
  | { admitted: false; short: keyof Usage; claimed: number }
  | { admitted: false; short: 'rate'; waitMs: number };

/** What a gateway sees of what tenants have on the nodes. */
export interface UsageSnapshot {
  /** How many nodes it hears. */
  nodes: number;
  /** Of tenants that have bounds, and any sandbox. */
  usage: ReadonlyMap<string, Usage>;
}

/** Nothing here ever rejects or throws: a form whose store is away decides by what its own gateway knows. */
export interface TenantCounters {
  /**
   * Writes the claims down and takes as many tokens, in one step that no other gateway can come between. A claim whose
   * id is known already takes the place of the first.
   */
  admit(application: Application): Promise<Verdict>;
  /** A node has these: they count a moment longer, for gateways that have not heard of it. Ids may be unknown. */
  placed(tenant: string, ids: readonly string[]): void;
  /** These have ended, or never came to be. Ids may be unknown. */
  release(tenant: string, ids: readonly string[]): void;
  /**
   * Tells the others how many commands each tenant runs through this gateway, and answers how many run through all the
   * others, as far as is known. Called every second or so, never while a command waits. What a gateway said counts for
   * a few seconds, so that one that died is forgotten.
   */
  exchange(running: ReadonlyMap<string, number>): Promise<ReadonlyMap<string, number>>;
  /** Tells the others what this gateway sees, and answers what each of them does. Called as often, and counts as long. */
  compare(snapshot: UsageSnapshot): Promise<readonly UsageSnapshot[]>;
  stop(): Promise<void>;
}
