/**
 * What each tenant uses on the nodes, even while this gateway is cut off from some of them: every second, gateways
 * exchange what they see, and the one connected to more nodes knows more.
 */
import type { UsageSnapshot, Usage } from './counters.ts';
import type { PlacedUsage } from './placed-usage.ts';

export interface ObservedUsageOptions {
  placed: PlacedUsage;
  /** Number of nodes that this gateway is connected to. */
  connectedNodes: () => number;
  /** Whether the tenant's resources are limited: only such tenants need to be reported. */
  bounded: (tenant: string) => boolean;
}

export class ObservedUsage {
  readonly #options: ObservedUsageOptions;
  #best: UsageSnapshot | null = null;

  constructor(options: ObservedUsageOptions) {
    this.#options = options;
  }

  /** The snapshot to send to the other gateways. */
  get own(): UsageSnapshot {
    const { placed, connectedNodes, bounded } = this.#options;
    return { nodes: connectedNodes(), usage: new Map([...placed.all].filter(([tenant]) => bounded(tenant))) };
  }

  /** Takes the latest snapshots of the other gateways. */
  receive(others: readonly UsageSnapshot[]): void {
    this.#best = others.reduce<UsageSnapshot | null>(
      (best, one) => (one.nodes > (best?.nodes ?? 0) ? one : best),
      null,
    );
  }

  /** This gateway's own count, unless another gateway is connected to more nodes: then the larger of the two counts. */
  of(tenant: string): Readonly<Usage> {
    const own = this.#options.placed.of(tenant);
    const others = this.#best?.usage.get(tenant);
    if (others === undefined || (this.#best?.nodes ?? 0) <= this.#options.connectedNodes()) return own;
    return {
      sandboxes: Math.max(own.sandboxes, others.sandboxes),
      milliCpus: Math.max(own.milliCpus, others.milliCpus),
      memoryMb: Math.max(own.memoryMb, others.memoryMb),
    };
  }
}
