/**
 * Prometheus metrics by tenant. Only tenants from the tenants file get a label of their own, up to a limit; all others
 * share one. A tenant keeps its label for the life of the process.
 */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Quota } from './admission.ts';

export interface TenantMetricsSources {
  registry: Registry;
  named: () => Iterable<string>;
  placed: () => Iterable<[tenant: string, usage: { sandboxes: number; milliCpus: number; memoryMb: number }]>;
  /** Running commands. */
  running: () => Iterable<[tenant: string, count: number]>;
}

const MAX_LABELS = 100;
const OTHERS = '(others)';

export class TenantMetrics {
  readonly #sources: TenantMetricsSources;
  readonly #labels = new Set<string>();
  readonly #refusals: Counter;
  readonly #creates: Counter;

  constructor(sources: TenantMetricsSources) {
    this.#sources = sources;
    const registers = [sources.registry];
    this.#refusals = new Counter({
      name: 'millibox_tenant_refusals_total',
      help: 'Calls refused because of a quota of the tenant',
      labelNames: ['tenant', 'quota'],
      registers,
    });
    this.#creates = new Counter({
      name: 'millibox_tenant_creates_total',
      help: 'Sandboxes admitted, by tenant',
      labelNames: ['tenant'],
      registers,
    });
    this.#gauge('sandboxes', 'Sandboxes on the nodes, by tenant', (add) => {
      for (const [tenant, { sandboxes }] of sources.placed()) add(tenant, sandboxes);
    });
    this.#gauge('cpus', 'CPUs of the sandboxes on the nodes, by tenant', (add) => {
      for (const [tenant, { milliCpus }] of sources.placed()) add(tenant, milliCpus / 1000);
    });
    this.#gauge('memory_megabytes', 'Memory of the sandboxes on the nodes, by tenant', (add) => {
      for (const [tenant, { memoryMb }] of sources.placed()) add(tenant, memoryMb);
    });
    this.#gauge('execs', 'Running commands through this gateway, by tenant', (add) => {
      for (const [tenant, count] of sources.running()) add(tenant, count);
    });
  }

  refused(tenant: string, quota: Quota): void {
    this.#refusals.inc({ tenant: this.#labelOf(tenant), quota });
  }

  created(tenant: string, count: number): void {
    this.#creates.inc({ tenant: this.#labelOf(tenant) }, count);
  }

  #gauge(name: string, help: string, collect: (add: (tenant: string, value: number) => void) => void): void {
    const gauge: Gauge = new Gauge({
      name: `millibox_tenant_${name}`,
      help,
      labelNames: ['tenant'],
      registers: [this.#sources.registry],
      collect: () => {
        gauge.reset();
        for (const tenant of this.#labels) gauge.set({ tenant }, 0);
        collect((tenant, value) => gauge.inc({ tenant: this.#labelOf(tenant) }, value));
      },
    });
  }

  #labelOf(tenant: string): string {
    if (this.#labels.has(tenant)) return tenant;
    for (const name of this.#sources.named()) {
      if (this.#labels.size >= MAX_LABELS) break;
      this.#labels.add(name);
    }
    return this.#labels.has(tenant) ? tenant : OTHERS;
  }
}
