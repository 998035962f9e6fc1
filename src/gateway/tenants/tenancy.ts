/** The tenants of a running gateway: their rules, their usage, and admission. */
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
  /** Not all nodes have reported their sandboxes yet. */
  learning: () => boolean;
  /** Number of connected nodes. */
  connectedNodes: () => number;
  /** Whether everything that waits is known here. */
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

/** Follows the store from now on. Start it before any node is connected. */
export function startTenancy(deps: TenancyDeps): Tenancy {
  const { file, counters, store, learning, connectedNodes, informed, queueWaitMs, metrics, log } = deps;
  const tenants = new Tenants(file);
  const placed = new PlacedUsage();
  const observed = new ObservedUsage({
    placed,
    connectedNodes,
    bounded: (tenant) => isBounded(tenants.of(tenant)),
  });
  const admission = new Admission({
    tenants,
    counters,
    observed,
    learning,
    seen: (id) => seenOf(store.get(id), informed()),
    queueWaitMs,
    log,
    refused: (tenant, quota) => tenantMetrics.refused(tenant, quota),
  });
  const tenantMetrics = new TenantMetrics({
    registry: metrics,
    named: () => tenants.names,
    placed: () => placed.all,
    running: () => admission.running,
  });
  store.onChange((entry) => {
    // In this order, so that a sandbox is counted somewhere at all times.
    placed.changed(entry);
    admission.changed(entry);
  });
  return {
    tenants,
    admission,
    metrics: tenantMetrics,
    async stop() {
      admission.stop();
      await counters.stop();
    },
  };
}

/** A gateway that does not know everything that waits must not call a sandbox unknown. */
function seenOf(entry: Entry | undefined, informed: boolean): Seen {
  if (entry === undefined) return informed ? 'unknown' : 'open';
  // Only this gateway considers the node lost: others may still see the sandbox there.
  if (entry.record.reason === 'node_lost') return 'open';
  if (entry.ended) return 'ended';
  return entry.accepted ? 'placed' : 'open';
}
