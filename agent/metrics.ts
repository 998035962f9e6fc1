/** The agent's Prometheus metrics. Labels come from closed sets. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { addProcessMetrics } from '../src/lib/process-metrics.ts';
import type { ErrorCode } from '../src/protocol/errors.ts';
import type { PoolNumbers } from './pool/pool.ts';

interface MetricsSource {
  sandboxes(): number;
  /** Over all pools. */
  pools(): PoolNumbers;
  links(): number;
  linkBytes(): { in: number; out: number };
}

export class AgentMetrics {
  readonly #registry = new Registry();
  readonly #claims: { hit: Counter.Internal; miss: Counter.Internal };
  readonly #execs: Counter<'outcome'>;
  readonly #execOk: Counter.Internal;
  readonly #startMs: Histogram;

  constructor(source: MetricsSource) {
    const registers = [this.#registry];
    addProcessMetrics(this.#registry, 'millibox_agent_');
    const claims = new Counter({
      name: 'millibox_agent_claims_total',
      help: 'Claims, by whether a warm container was available',
      labelNames: ['pool'] as const,
      registers,
    });
    this.#claims = { hit: claims.labels('hit'), miss: claims.labels('miss') };
    this.#execs = new Counter({
      name: 'millibox_agent_exec_streams_total',
      help: 'Exec streams that ended, by outcome',
      labelNames: ['outcome'] as const,
      registers,
    });
    this.#execOk = this.#execs.labels('ok');
    this.#startMs = new Histogram({
      name: 'millibox_agent_start_milliseconds',
      help: 'From the acceptance of a sandbox to RUNNING',
      buckets: [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000],
      registers,
    });
    const gauge = (name: string, help: string, value: () => number): void => {
      new Gauge({
        name: `millibox_agent_${name}`,
        help,
        registers,
        collect() {
          this.set(value());
        },
      });
    };
    gauge('sandboxes', 'Sandboxes that have not ended', () => source.sandboxes());
    gauge('pool_warm', 'Warm containers', () => source.pools().warm);
    gauge('pool_starting', 'Containers being started', () => source.pools().starting);
    gauge('pool_target', 'Target number of warm containers', () => source.pools().target);
    gauge('links', 'Connected gateways', () => source.links());
    gauge('link_bytes_in', 'Bytes received from gateways', () => source.linkBytes().in);
    gauge('link_bytes_out', 'Bytes sent to gateways', () => source.linkBytes().out);
  }

  claim(hit: boolean): void {
    (hit ? this.#claims.hit : this.#claims.miss).inc();
  }

  execOver(code: ErrorCode | undefined): void {
    if (code === undefined) this.#execOk.inc();
    else this.#execs.inc({ outcome: code });
  }

  started(tookMs: number): void {
    this.#startMs.observe(tookMs);
  }

  async text(): Promise<string> {
    return await this.#registry.metrics();
  }
}
