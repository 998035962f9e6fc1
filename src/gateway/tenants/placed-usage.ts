/** What each tenant uses on the nodes: sandboxes that a node has confirmed and that have not ended. */
import type { Entry } from '../sandboxes/entry.ts';
import type { Claim, Usage } from './counters.ts';

const NOTHING: Usage = { sandboxes: 0, milliCpus: 0, memoryMb: 0 };

/** Rounded up, so that no fraction of a CPU is free. */
export const milliCpus = (cpus: number): number => Math.ceil(cpus * 1000 - 1e-6);

export class PlacedUsage {
  readonly #tenants = new Map<string, Usage>();
  /** What was added for each entry, so that exactly that is subtracted. */
  readonly #counted = new Map<Entry, Claim>();

  of(tenant: string): Readonly<Usage> {
    return this.#tenants.get(tenant) ?? NOTHING;
  }

  /** Tenants with any usage. */
  get all(): Iterable<[tenant: string, usage: Readonly<Usage>]> {
    return this.#tenants;
  }

  /** Call after each change of an entry. */
  changed(entry: Entry): void {
    const counted = this.#counted.get(entry);
    const there = entry.accepted && !entry.ended;
    if (there === (counted !== undefined)) return;
    if (counted === undefined) {
      const { cpus, memoryMb } = entry.record;
      const claim = { id: entry.id, milliCpus: milliCpus(cpus), memoryMb };
      this.#counted.set(entry, claim);
      this.#add(entry.tenant, claim, 1);
    } else {
      this.#counted.delete(entry);
      this.#add(entry.tenant, counted, -1);
    }
  }

  #add(tenant: string, claim: Claim, sign: 1 | -1): void {
    const before = this.of(tenant);
    const after = {
      sandboxes: before.sandboxes + sign,
      milliCpus: before.milliCpus + sign * claim.milliCpus,
      memoryMb: before.memoryMb + sign * claim.memoryMb,
    };
    if (after.sandboxes === 0) this.#tenants.delete(tenant);
    else this.#tenants.set(tenant, after);
  }
}
