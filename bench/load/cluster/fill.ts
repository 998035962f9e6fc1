/** Fills a simulated cluster through the gateway's own queue, placer and store, and measures how well it is filled. */
import { silent } from '../../../src/lib/logger.ts';
import { pendingRecord } from '../../../src/protocol/node.ts';
import { pick } from '../../../src/gateway/nodes/placement.ts';
import { MemoryQueue } from '../../../src/gateway/queue/memory-queue.ts';
import { Placer } from '../../../src/gateway/sandboxes/placer.ts';
import { Store } from '../../../src/gateway/sandboxes/store.ts';
import { Histogram } from '../../report/histogram.ts';
import type { SimulatedCluster } from './simulated-cluster.ts';
import { WARM, type SimulatedNode } from './simulated-node.ts';

export interface Filled {
  /** The decision alone, timed at every tenth create, from the empty cluster to the full one. */
  decision: Histogram;
  /** A create's path through queue, placer and store, up to the message to the node. */
  placement: Histogram;
  elapsedMs: number;
  placed: number;
  /** Not placed although some node had room. */
  missed: number;
  /** Placed where a warm container was available. */
  warm: number;
  /** Placed where the image was present, by the node's last report. */
  withImage: number;
  /** How full the nodes were when the cluster was half full. */
  half: ReturnType<SimulatedCluster['fill']>;
}

/** Creates between two reports of a node: as many as in a second in a busy cluster. */
const PER_TICK = 5_000;
/** Concurrent creates that wait for their node's answer. */
const BATCH = 500;
const DECISION_EVERY = 10;

export async function fillCluster(
  cluster: SimulatedCluster,
  sandboxes: number,
  onTick: (placed: number) => void,
): Promise<Filled> {
  const store = new Store(silent);
  const queue = new MemoryQueue({ max: BATCH });
  const placer = new Placer({ nodes: () => cluster.nodes, store, now: Date.now, log: silent });
  let underWay: Promise<unknown>[] = [];
  queue.start((ticket) => {
    const outcome = placer.offer(ticket);
    if (outcome !== null) underWay.push(outcome);
    return outcome;
  });
  const filled: Filled = {
    decision: new Histogram(),
    placement: new Histogram(),
    elapsedMs: 0,
    placed: 0,
    missed: 0,
    warm: 0,
    withImage: 0,
    half: cluster.fill(),
  };
  const halfAt = Math.floor(cluster.room / 2);
  const startedAt = performance.now();
  for (let number = 1; number <= sandboxes; number++) {
    const spec = cluster.nextSpec();
    if (number % DECISION_EVERY === 0) timed(filled.decision, () => pick(cluster.nodes, spec));
    const entry = store.add(pendingRecord(spec));
    timed(filled.placement, () => queue.add({ spec, priority: 0 }));
    // The cluster contains only this simulation's nodes.
    const node = entry.node as SimulatedNode | null;
    if (node === null) {
      queue.remove(spec.id);
      filled.missed += 1;
      continue;
    }
    filled.placed += 1;
    if (node.placed <= WARM) filled.warm += 1;
    if (node.hasImage(spec.image)) filled.withImage += 1;
    if (underWay.length >= BATCH) {
      await Promise.all(underWay);
      underWay = [];
    }
    if (number % PER_TICK === 0) {
      cluster.tick();
      onTick(number);
    }
    if (number === halfAt) filled.half = cluster.fill();
  }
  await Promise.all(underWay);
  filled.elapsedMs = performance.now() - startedAt;
  queue.stop();
  store.stop();
  return filled;
}

/** Decisions in a cluster in which nothing fits: every node is examined, and the result is null. */
export function decideWhenFull(cluster: SimulatedCluster, times: number): Histogram {
  for (const node of cluster.nodes) node.live = node.maxSandboxes;
  const histogram = new Histogram();
  const spec = cluster.nextSpec();
  for (let i = 0; i < times; i++) {
    timed(histogram, () => {
      if (pick(cluster.nodes, spec) !== null) throw new Error('a full node was picked');
    });
  }
  return histogram;
}

function timed(into: Histogram, work: () => unknown): void {
  const before = performance.now();
  work();
  into.record(performance.now() - before);
}
