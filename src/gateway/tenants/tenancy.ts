/** Tenants of a running gateway: their rules, what they have, and who is let in. */
import type { Registry } from 'prom-client';
import type { Logger } from '../../lib/logger.ts';
import type { Entry } from '../sandboxes/entry.ts';
import type { Store } from '../sandboxes/store.ts';
import { Admission, isBounded } from './admission.ts';
import type { Seen, TenantCounters } from './counters.ts';
import type { TenantsFile } from './file.ts';
import { TenantMetrics } from './metrics.ts';
import { PlacedUsage } from './placed-usage.ts';
import { ObservedUsage } from './observed-usage.ts';
import { Tenants } from './tenants.ts';

export interface TenancyDeps {
  file: TenantsFile | undefined;
  counters: TenantCounters;
  store: Store;
  /** Not all nodes have said yet what they have. */
  learning: () => boolean;
  /** Nodes that are heard now. */
  hears: () => number;
  /** Whether all that waits is known here. */
  informed: () => boolean;
  queueWaitMs: number;
  metrics: Registry;
  log: Logger;
}

export interface Tenancy {
  readonly tenants: Tenants;
  readonly admission: Admission;
  readonly metrics: TenantMetrics;
  stop(): Promise<void>;
}

/** Follows the store from now on: started before any node is heard. */
export function startTenancy(deps: TenancyDeps): Tenancy {
  const { file, counters, store, learning, hears, informed, queueWaitMs, metrics, log } = deps;
  const tenants = new Tenants(file);
  const placed = new PlacedUsage();
  const observed = new ObservedUsage({ placed, hears, bounded: (tenant) => isBounded(tenants.of(tenant)) });
  const admission = new Admission({
    tenants,
    counters,
    observed,
    learning,
    seen: (id) => seenOf(store.get(id), informed()),
    queueWaitMs,
    log,
    refused: (tenant, quota) => seen.refused(tenant, quota),
  });
  const seen = new TenantMetrics({
    registry: metrics,
    named: () => tenants.names,
    placed: () => placed.all,
    running: () => admission.running,
  });
  store.onChange((entry) => {
    // In this order: at no time is a sandbox counted nowhere.
    placed.changed(entry);
    admission.changed(entry);
  });
  return {
    tenants,
    admission,
    metrics: seen,
    async stop() {
      admission.stop();
      await counters.stop();
    },
  };
}

/** Who does not know all that waits cannot say of one that it is unknown. */
function seenOf(entry: Entry | undefined, informed: boolean): Seen {
  if (entry === undefined) return informed ? 'unknown' : 'open';
  // That its node is lost is a guess of this gateway: others may see it there.
  if (entry.record.reason === 'node_lost') return 'open';
  if (entry.ended) return 'ended';
  return entry.accepted ? 'placed' : 'open';
}
