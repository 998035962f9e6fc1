/** Sandboxes: many at one moment, and a steady rate of them. */
import { ratio } from '../../report/statistics.ts';
import type { LoadRun } from './load-run.ts';

const DEFAULT_BURST = 500;
/** The rate that published figures of hosted services refer to. */
const DEFAULT_PER_SEC = 45;
const DEFAULT_DURATION_MS = 30_000;
const RATE_POOL = 64;
/** For one generator: more callers than this reveal nothing more about it. */
const MAX_CALIBRATED = 64;

export const createBurst: LoadRun = {
  name: 'create-burst',
  describe: 'N creates at the same moment, and the first command in each',
  pool: (options) => options.pool ?? options.n ?? DEFAULT_BURST,
  callers: (options) => Math.min(MAX_CALIBRATED, options.n ?? DEFAULT_BURST),

  async run(bench) {
    const count = bench.options.n ?? DEFAULT_BURST;
    const pool = createBurst.pool(bench.options);
    await bench.poolReady(pool);
    const burst = await bench.phase('burst', { workload: 'create-burst', count });
    const row = burst.recording.series('create+exec').row('', burst.elapsedMs);
    return {
      setup: { count, pool },
      phases: { burst },
      drawn: ['create+exec'],
      ratios: { burstMaxMs: row.maxMs, createsPerSec: row.perSec },
    };
  },
};

export const creates: LoadRun = {
  name: 'creates',
  describe: 'creates at --rate (45) per second in an open loop, each with its first command and its deletion',
  pool: (options) => options.pool ?? RATE_POOL,
  callers: () => MAX_CALIBRATED,

  async run(bench) {
    const perSec = bench.options.rate ?? DEFAULT_PER_SEC;
    const durationMs = bench.options.durationMs ?? DEFAULT_DURATION_MS;
    const pool = creates.pool(bench.options);
    await bench.poolReady(pool);
    const sustained = await bench.phase('sustained', { workload: 'creates', perSec, durationMs });
    const { recording, elapsedMs } = sustained;
    const row = recording.series('create+exec').row('', elapsedMs);
    const warm = recording.counters.get('start.warm') ?? 0;
    return {
      setup: { perSec, durationMs, pool },
      phases: { sustained },
      drawn: ['create+exec'],
      ratios: {
        rateKept: ratio(row.perSec, perSec),
        createP50Ms: row.p50Ms,
        createP99Ms: row.p99Ms,
        warmShare: ratio(warm, warm + (recording.counters.get('start.cold') ?? 0)),
      },
    };
  },
};
