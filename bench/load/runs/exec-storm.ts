/** Commands only: a closed loop finds the service's maximum rate, an open loop the times at half of that. */
import { ratio } from '../../report/statistics.ts';
import type { LoadRun } from './load-run.ts';

const DEFAULT_CALLERS = 64;
const DEFAULT_DURATION_MS = 20_000;
/** Fraction of the closed loop's rate: a service that is always saturated shows its queue, not its times. */
const OPEN_SHARE = 0.5;

export const execStorm: LoadRun = {
  name: 'exec-storm',
  describe: 'N callers in a closed loop, then commands at half of that rate (or --rate) in an open loop',
  pool: (options) => options.n ?? DEFAULT_CALLERS,
  callers: (options) => options.n ?? DEFAULT_CALLERS,

  async run(bench) {
    const callers = execStorm.callers(bench.options);
    const durationMs = bench.options.durationMs ?? DEFAULT_DURATION_MS;
    const closed = await bench.phase('closed', { workload: 'exec-closed', callers, durationMs });
    const closedPerSec = closed.recording.series('exec').row('', closed.elapsedMs).perSec;
    const perSec = bench.options.rate ?? Math.max(1, Math.round(closedPerSec * OPEN_SHARE));
    const open = await bench.phase('open', { workload: 'exec-open', sandboxes: callers, perSec, durationMs });
    const openRow = open.recording.series('exec').row('', open.elapsedMs);
    return {
      setup: { callers, durationMs, openPerSec: perSec },
      phases: { closed, open },
      drawn: ['exec'],
      ratios: {
        closedPerSec,
        openRateKept: ratio(openRow.perSec, perSec),
        openP50Ms: openRow.p50Ms,
        openP99Ms: openRow.p99Ms,
      },
    };
  },
};
