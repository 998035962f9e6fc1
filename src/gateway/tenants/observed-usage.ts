/**
 * What each tenant has on the nodes, also while this gateway is cut off from some of them: gateways tell each other every
 * second what they see, and who hears more nodes knows more.
 */
import type { UsageSnapshot, Usage } from './counters.ts';
import type { PlacedUsage } from './placed-usage.ts';

export interface ObservedUsageOptions {
  placed: PlacedUsage;
  /** Nodes that this gateway hears now. */
  hears: () => number;
  /** Whether the tenant may have only so much: of others nobody need be told. */
  bounded: (tenant: string) => boolean;
}

export class ObservedUsage {
  readonly #options: ObservedUsageOptions;
  #best: UsageSnapshot | null = null;

  constructor(options: ObservedUsageOptions) {
    this.#options = options;
  }

  /** What is to be told to others. */
  get own(): UsageSnapshot {
    const { placed, hears, bounded } = this.#options;
    return { nodes: hears(), usage: new Map([...placed.all].filter(([tenant]) => bounded(tenant))) };
  }

  /** What others told just now. */
  heard(others: readonly UsageSnapshot[]): void {
    this.#best = others.reduce<UsageSnapshot | null>(
      (best, one) => (one.nodes > (best?.nodes ?? 0) ? one : best),
      null,
    );
  }

  /** By this gateway's own word as long as no other hears more nodes; else by whoever has seen more of the tenant's. */
  of(tenant: string): Readonly<Usage> {
    const own = this.#options.placed.of(tenant);
    const others = this.#best?.usage.get(tenant);
    if (others === undefined || (this.#best?.nodes ?? 0) <= this.#options.hears()) return own;
    return {
      sandboxes: Math.max(own.sandboxes, others.sandboxes),
      milliCpus: Math.max(own.milliCpus, others.milliCpus),
      memoryMb: Math.max(own.memoryMb, others.memoryMb),
    };
  }
}
