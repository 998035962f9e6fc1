/** What Redis has not heard of yet about claims, because it was away when a gateway wanted to tell it. */

/** placed: a node has the sandbox. over: it has ended, or was never made. */
export type Fate = 'placed' | 'over';

/** Claims beyond this expire in Redis by themselves. */
const MAX_OWED = 10_000;

export class Owed {
  readonly #tenants = new Map<string, Map<string, Fate>>();
  #size = 0;

  get tenants(): string[] {
    return [...this.#tenants.keys()];
  }

  has(tenant: string): boolean {
    return this.#tenants.has(tenant);
  }

  /** A tenant's, to be told in one call each. */
  of(tenant: string): { fate: Fate; ids: string[] }[] {
    const byFate = Map.groupBy(this.#tenants.get(tenant) ?? [], ([, fate]) => fate);
    return [...byFate].map(([fate, claims]) => ({ fate, ids: claims.map(([id]) => id) }));
  }

  /** What is over stays so. */
  owe(tenant: string, ids: readonly string[], fate: Fate): void {
    let claims = this.#tenants.get(tenant);
    if (claims === undefined) this.#tenants.set(tenant, (claims = new Map<string, Fate>()));
    for (const id of ids) {
      if (claims.get(id) === 'over') continue;
      if (!claims.has(id)) {
        if (this.#size >= MAX_OWED) continue;
        this.#size += 1;
      }
      claims.set(id, fate);
    }
    if (claims.size === 0) this.#tenants.delete(tenant);
  }

  /** Redis has heard that of these. Once it knows that one is over, nothing more is owed for it. */
  paid(tenant: string, ids: readonly string[], fate: Fate): void {
    const claims = this.#tenants.get(tenant);
    if (claims === undefined) return;
    for (const id of ids) {
      if (claims.get(id) !== fate && fate !== 'over') continue;
      if (claims.delete(id)) this.#size -= 1;
    }
    if (claims.size === 0) this.#tenants.delete(tenant);
  }
}
