/** Outcomes of claims that Redis has not been told yet, because it was away. */

/** placed: a node has the sandbox. over: it has ended, or was never created. */
export type Fate = 'placed' | 'over';

/** Claims beyond this expire in Redis by themselves. */
const MAX_PENDING = 10_000;

export class PendingSettlements {
  readonly #tenants = new Map<string, Map<string, Fate>>();
  #size = 0;

  get tenants(): string[] {
    return [...this.#tenants.keys()];
  }

  has(tenant: string): boolean {
    return this.#tenants.has(tenant);
  }

  /** A tenant's outcomes, grouped by the calls that report them. */
  of(tenant: string): { fate: Fate; ids: string[] }[] {
    const byFate = Map.groupBy(this.#tenants.get(tenant) ?? [], ([, fate]) => fate);
    return [...byFate].map(([fate, claims]) => ({ fate, ids: claims.map(([id]) => id) }));
  }

  /** A claim that is over stays so. */
  add(tenant: string, ids: readonly string[], fate: Fate): void {
    let claims = this.#tenants.get(tenant);
    if (claims === undefined) this.#tenants.set(tenant, (claims = new Map<string, Fate>()));
    for (const id of ids) {
      if (claims.get(id) === 'over') continue;
      if (!claims.has(id)) {
        if (this.#size >= MAX_PENDING) continue;
        this.#size += 1;
      }
      claims.set(id, fate);
    }
    if (claims.size === 0) this.#tenants.delete(tenant);
  }

  /** Redis has been told this outcome. Once it knows that a claim is over, nothing is pending for it. */
  settled(tenant: string, ids: readonly string[], fate: Fate): void {
    const claims = this.#tenants.get(tenant);
    if (claims === undefined) return;
    for (const id of ids) {
      if (claims.get(id) !== fate && fate !== 'over') continue;
      if (claims.delete(id)) this.#size -= 1;
    }
    if (claims.size === 0) this.#tenants.delete(tenant);
  }
}
