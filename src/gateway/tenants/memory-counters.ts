/** The counters of a single gateway. */
import {
  USAGE_KINDS,
  type AdmissionRequest,
  type Claim,
  type UsageSnapshot,
  type TenantCounters,
  type Usage,
  type Verdict,
} from './counters.ts';
import { take } from './rate.ts';

interface Kept extends Claim {
  untilMs: number;
}

interface Tenant {
  /** In order of arrival, which is also the order of expiry. */
  claims: Map<string, Kept>;
  sum: Usage;
  fullAtMs: number;
}

export class MemoryCounters implements TenantCounters {
  readonly #tenants = new Map<string, Tenant>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  admit(request: AdmissionRequest): Promise<Verdict> {
    return Promise.resolve(this.#admit(request));
  }

  /** There is no other gateway. */
  placed(name: string, ids: readonly string[]): void {
    this.release(name, ids);
  }

  release(name: string, ids: readonly string[]): void {
    const tenant = this.#tenants.get(name);
    if (tenant === undefined) return;
    for (const id of ids) drop(tenant, id);
    if (tenant.claims.size === 0 && tenant.fullAtMs <= this.#now()) this.#tenants.delete(name);
  }

  exchangeRunning(): Promise<ReadonlyMap<string, number>> {
    return Promise.resolve(new Map());
  }

  exchangeUsage(): Promise<readonly UsageSnapshot[]> {
    return Promise.resolve([]);
  }

  stop(): Promise<void> {
    this.#tenants.clear();
    return Promise.resolve();
  }

  #admit({ tenant: name, claims, room, rate, keptMs }: AdmissionRequest): Verdict {
    const now = this.#now();
    const tenant = this.#tenants.get(name) ?? { claims: new Map<string, Kept>(), sum: none(), fullAtMs: now };
    for (const { id, untilMs } of tenant.claims.values()) {
      if (untilMs > now) break;
      drop(tenant, id);
    }
    const asked = none();
    for (const claim of claims) if (!tenant.claims.has(claim.id)) add(asked, claim, 1);
    for (const kind of USAGE_KINDS) {
      const most = room[kind];
      if (most !== null && tenant.sum[kind] + asked[kind] > most) {
        return { admitted: false, short: kind, claimed: tenant.sum[kind] };
      }
    }
    if (rate !== null) {
      const taken = take(tenant.fullAtMs, now, claims.length, rate);
      if ('waitMs' in taken) return { admitted: false, short: 'rate', waitMs: taken.waitMs };
      tenant.fullAtMs = taken.fullAtMs;
    }
    for (const claim of claims) {
      drop(tenant, claim.id);
      tenant.claims.set(claim.id, { ...claim, untilMs: now + keptMs });
      add(tenant.sum, claim, 1);
    }
    this.#tenants.set(name, tenant);
    return { admitted: true };
  }
}

const none = (): Usage => ({ sandboxes: 0, milliCpus: 0, memoryMb: 0 });

function add(sum: Usage, claim: Claim, sign: 1 | -1): void {
  sum.sandboxes += sign;
  sum.milliCpus += sign * claim.milliCpus;
  sum.memoryMb += sign * claim.memoryMb;
}

function drop(tenant: Tenant, id: string): void {
  const kept = tenant.claims.get(id);
  if (kept === undefined) return;
  tenant.claims.delete(id);
  add(tenant.sum, kept, -1);
}
