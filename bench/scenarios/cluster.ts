/** Placement in a cluster of ten thousand nodes: how fast it decides, and how well. Nothing is started. */
import { decideWhenFull, fillCluster } from '../load/cluster/fill.ts';
import { SimulatedCluster } from '../load/cluster/simulated-cluster.ts';
import { Random } from '../load/random/random.ts';
import { rowOf } from '../report/histogram.ts';
import { ratio, round } from '../report/statistics.ts';
import type { Outcome, Standalone } from './scenario.ts';

const DEFAULT_SANDBOXES = 1_000_000;
const DEFAULT_NODES = 10_000;
const IMAGES = 500;
/** The last creates find a cluster in which hardly any node has room. */
const FILL = 0.999;
const FULL_DECISIONS = 500;
const SEED = 20;

export const cluster: Standalone = {
  name: 'cluster',
  describe: 'placement of N sandboxes on --nodes simulated nodes: decisions a second, and their quality',

  async standalone(options): Promise<Outcome> {
    const sandboxes = options.n ?? DEFAULT_SANDBOXES;
    const nodes = options.nodes ?? DEFAULT_NODES;
    const simulated = new SimulatedCluster({ nodes, sandboxes, fill: FILL, images: IMAGES }, new Random(SEED));
    const wanted = Math.min(sandboxes, simulated.room);
    const filled = await fillCluster(simulated, wanted, (placed) =>
      options.status(`cluster: ${placed} of ${wanted} sandboxes placed on ${nodes} nodes`),
    );
    const end = simulated.fill();
    const whenFull = decideWhenFull(simulated, FULL_DECISIONS);
    return {
      setup: { nodes, sandboxes: wanted, room: simulated.room, images: IMAGES },
      rows: [
        rowOf('decision', filled.decision),
        rowOf('create.queue-to-node', filled.placement),
        rowOf('decision.cluster-full', whenFull),
      ],
      ratios: {
        placementP99Ms: round(filled.placement.percentile(0.99)),
        decisionP99Ms: round(filled.decision.percentile(0.99)),
        decisionsPerSec: Math.round(1000 / filled.decision.meanMs),
        placementsPerSec: Math.round((filled.placed * 1000) / filled.elapsedMs),
        missedWithRoom: filled.missed,
        warmShare: ratio(filled.warm, filled.placed),
        imageShare: ratio(filled.withImage, filled.placed),
        halfFullDeviation: round(filled.half.deviation),
        halfFullFullestNode: round(filled.half.fullest),
        endDeviation: round(end.deviation),
        memoryMb: Math.round(process.memoryUsage().rss / 1024 / 1024),
      },
      errors: {},
    };
  },
};
