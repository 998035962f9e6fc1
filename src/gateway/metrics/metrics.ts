/** Prometheus metrics. Labels come from closed sets: never ids, images or messages. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { addProcessMetrics } from '../../lib/process-metrics.ts';
import type { NodeRegistry } from '../nodes/registry.ts';
import type { PlacementQueue } from '../queue/queue.ts';
import type { Entry } from '../sandboxes/entry.ts';
import type { Store } from '../sandboxes/store.ts';

export interface MetricsSources {
  registry: NodeRegistry;
  queue: PlacementQueue;
  store: Store;
  /** `up` is null for a single gateway. */
  shared: { readonly up: boolean | null; readonly leader: { readonly leading: boolean } };
}

const SECONDS = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const NODE_STATES = ['connecting', 'ready', 'cordoned', 'draining', 'away', 'lost'] as const;

export class Metrics {
  readonly registry = new Registry();
  readonly #creates = new Counter({
    name: 'millibox_creates_total',
    help: 'Sandboxes requested',
    registers: [this.registry],
  });
  readonly #placements = new Counter({
    name: 'millibox_placements_total',
    help: "Nodes' answers to creates sent to them",
    labelNames: ['outcome'],
    registers: [this.registry],
  });
  readonly #claims = new Counter({
    name: 'millibox_claims_total',
    help: 'Sandboxes started from a warm container (hit) or not (miss)',
    labelNames: ['result'],
    registers: [this.registry],
  });
  readonly #ends = new Counter({
    name: 'millibox_sandboxes_ended_total',
    help: 'Sandboxes that ended, by reason',
    labelNames: ['reason'],
    registers: [this.registry],
  });
  readonly #execs = new Counter({
    name: 'millibox_execs_total',
    help: 'Commands that a client waited for, by outcome, and streams',
    labelNames: ['outcome'],
    registers: [this.registry],
  });
  readonly #phases = new Histogram({
    name: 'millibox_phase_seconds',
    help: 'Time by phase: create (placed, claimed, running: from creation), exec (queue, run, total)',
    labelNames: ['phase'],
    buckets: SECONDS,
    registers: [this.registry],
  });
  readonly #http = new Histogram({
    name: 'millibox_http_seconds',
    help: 'Responses over HTTP, and to creates and deletes over WebSocket, by status class',
    labelNames: ['status'],
    buckets: SECONDS,
    registers: [this.registry],
  });
  /** What has already been counted of each sandbox. */
  readonly #seen = new WeakMap<Entry, 'running' | 'ended'>();

  constructor({ registry, queue, store, shared }: MetricsSources) {
    addProcessMetrics(this.registry, 'millibox_');
    const gauge = (name: string, help: string, collect: (gauge: Gauge) => void, labelNames: string[] = []): void => {
      const made: Gauge = new Gauge({
        name,
        help,
        labelNames,
        registers: [this.registry],
        collect: () => {
          made.reset();
          collect(made);
        },
      });
    };
    gauge('millibox_sandboxes_known', 'Sandboxes in memory, including ended ones', (g) => g.set(store.size));
    gauge('millibox_queue_depth', 'Queued sandboxes, over all gateways', (g) => g.set(queue.depth));
    if (shared.up !== null) {
      gauge('millibox_redis_up', 'Whether Redis, which gateways share, answers', (g) => g.set(shared.up ? 1 : 0));
    }
    gauge('millibox_leader', 'Whether this gateway is the leader', (g) => {
      g.set(shared.leader.leading ? 1 : 0);
    });
    gauge(
      'millibox_nodes',
      'Nodes by state',
      (g) => {
        for (const state of NODE_STATES) g.set({ state }, registry.all.filter((n) => n.shownState === state).length);
      },
      ['state'],
    );
    gauge(
      'millibox_pool_containers',
      'Containers of the warm pools, over all nodes: warm, starting, and the target',
      (g) => {
        const sum = { warm: 0, starting: 0, target: 0 };
        for (const pool of registry.all.flatMap((n) => (n.up ? (n.report?.pools ?? []) : []))) {
          for (const state of ['warm', 'starting', 'target'] as const) sum[state] += pool[state];
        }
        for (const state of ['warm', 'starting', 'target'] as const) g.set({ state }, sum[state]);
      },
      ['state'],
    );
    gauge(
      'millibox_link_bytes',
      'Bytes over the links to nodes since start',
      (g) => {
        const sum = { in: 0, out: 0 };
        for (const { link } of registry.all) {
          sum.in += link?.counts.bytesIn ?? 0;
          sum.out += link?.counts.bytesOut ?? 0;
        }
        g.set({ direction: 'in' }, sum.in);
        g.set({ direction: 'out' }, sum.out);
      },
      ['direction'],
    );
    gauge('millibox_nodes_ejected', 'Nodes that get no new sandboxes because of failures', (g) => {
      g.set(registry.all.filter((node) => node.ejected).length);
    });
    gauge('millibox_link_losses', 'Links to nodes that were up and broke, since start', (g) => {
      g.set(registry.all.reduce((sum, { link }) => sum + (link?.counts.losses ?? 0), 0));
    });
    gauge('millibox_heartbeats_late', 'Heartbeats that a node answered late or never, since start', (g) => {
      g.set(registry.all.reduce((sum, { link }) => sum + (link?.counts.lateHeartbeats ?? 0), 0));
    });
    gauge('millibox_link_streams', 'Open streams to nodes', (g) => {
      g.set(registry.all.reduce((sum, node) => sum + (node.link?.streams ?? 0), 0));
    });
  }

  created(count: number): void {
    this.#creates.inc(count);
  }

  placed(outcome: 'accepted' | 'refused' | 'failed'): void {
    this.#placements.inc({ outcome });
  }

  sandboxChanged(entry: Entry): void {
    const { record } = entry;
    const seen = this.#seen.get(entry);
    if (record.status === 'RUNNING' && seen === undefined) {
      this.#seen.set(entry, 'running');
      const { placedMs, claimedMs, runningMs, warm } = record.timings;
      if (warm !== undefined) this.#claims.inc({ result: warm ? 'hit' : 'miss' });
      if (placedMs !== undefined) this.#phases.observe({ phase: 'create_placed' }, placedMs / 1000);
      if (claimedMs !== undefined) this.#phases.observe({ phase: 'create_claimed' }, claimedMs / 1000);
      if (runningMs !== undefined) this.#phases.observe({ phase: 'create_running' }, runningMs / 1000);
    }
    if (entry.ended && seen !== 'ended') {
      this.#seen.set(entry, 'ended');
      this.#ends.inc({ reason: record.reason ?? 'internal' });
    }
  }

  finished(outcome: 'exit' | 'timeout' | 'error', timings?: { queueMs: number; runMs: number; totalMs: number }): void {
    this.#execs.inc({ outcome });
    if (timings === undefined) return;
    this.#phases.observe({ phase: 'exec_queue' }, timings.queueMs / 1000);
    this.#phases.observe({ phase: 'exec_run' }, timings.runMs / 1000);
    this.#phases.observe({ phase: 'exec_total' }, timings.totalMs / 1000);
  }

  /** An exec stream over WebSocket has ended. */
  streamed(): void {
    this.#execs.inc({ outcome: 'stream' });
  }

  answered(status: number, ms: number): void {
    this.#http.observe({ status: `${Math.floor(status / 100)}xx` }, ms / 1000);
  }

  stop(): void {
    this.registry.clear();
  }
}
