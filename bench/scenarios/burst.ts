/** Many creates at once, the first command in each, against a pool; and the refill of an emptied pool. */
import { DockerBaseline } from '../load/docker.ts';
import { spread } from '../load/concurrency.ts';
import { poolReady } from '../load/pool.ts';
import { mustSucceed, Sandboxes } from '../load/sandboxes.ts';
import { ratio, round, Samples } from '../report/statistics.ts';
import { failures, type Figures, type Outcome, type Scenario } from './scenario.ts';

const DEFAULT_N = 500;
const DOCKER_RUNS = 16;
/** Docker's own rate is highest with a few concurrent calls. */
const DOCKER_WIDTH = 4;
/** Creates beyond a pool as large as the burst. */
const SECOND_WAVE = 64;
const TRUE = ['/bin/true'];

export const burst: Scenario = {
  name: 'burst',
  describe: 'N creates at once and the first command in each; with --pool below N, the refill against docker run',
  pool: (options) => options.pool ?? options.n ?? DEFAULT_N,

  async run(target, options): Promise<Outcome> {
    const n = options.n ?? DEFAULT_N;
    const pool = burst.pool(options);
    await using sandboxes = new Sandboxes(target.client, target.image);
    await using docker = await DockerBaseline.find(target.image, options.run.directory);

    options.progress(`burst: filling the pool to ${pool}`);
    await poolReady(target.operator, pool);

    options.progress(`burst: ${n} creates at once`);
    const all = new Samples('create+exec');
    const finished: number[] = [];
    const start = performance.now();
    await Promise.all(
      Array.from({ length: n }, async () => {
        await all.time(() => mustSucceed(sandboxes.create({ memoryMb: 128 }).exec(TRUE)));
        finished.push(performance.now() - start);
      }),
    );
    const burstMs = performance.now() - start;

    // Everything after the first `pool` had to be started first: that part of the burst shows the refill rate. A pool
    // as large as the burst is emptied by a second wave.
    let refillPerSec = perSecond(finished.slice(pool));
    const refill = new Samples('create+exec.pool-empty');
    let refillMs = 0;
    if (!(refillPerSec > 0)) {
      const count = pool + Math.min(SECOND_WAVE, n);
      options.progress(`burst: ${count} more with the pool empty`);
      const before = performance.now();
      await Promise.all(
        Array.from({ length: count }, () =>
          refill.time(() => mustSucceed(sandboxes.create({ memoryMb: 128 }).exec(TRUE))),
        ),
      );
      refillMs = performance.now() - before;
      // All but the first `pool` of both waves were started after the first began.
      refillPerSec = ((all.times.length + refill.times.length - pool) * 1000) / (performance.now() - start);
    }

    options.progress('burst: docker run');
    const runs = new Samples('docker.run');
    const dockerStart = performance.now();
    if (docker !== undefined) await spread(DOCKER_RUNS, DOCKER_WIDTH, () => runs.time(() => docker.run(TRUE)));
    const dockerMs = performance.now() - dockerStart;

    return {
      setup: { n, pool },
      ...burstFigures({
        burst: { samples: all, elapsedMs: burstMs },
        refill: { samples: refill, elapsedMs: refillMs, perSec: refillPerSec },
        docker: { samples: runs, elapsedMs: dockerMs },
      }),
    };
  },
};

interface Wave {
  samples: Samples;
  elapsedMs: number;
}

/**
 * `refill.perSec`: containers started per second while creates waited for them; it has no samples without a second
 * wave.
 */
export function burstFigures({
  burst: first,
  refill,
  docker,
}: {
  burst: Wave;
  refill: Wave & { perSec: number };
  docker: Wave;
}): Figures {
  const row = first.samples.row(first.elapsedMs);
  const dockerRow = docker.samples.row(docker.elapsedMs);
  return {
    rows: [row, ...(refill.samples.times.length > 0 ? [refill.samples.row(refill.elapsedMs)] : []), dockerRow],
    ratios: {
      burstMaxMs: row.maxMs,
      ok: row.ok,
      refillVsDocker: ratio(refill.perSec, dockerRow.perSec),
      refillPerSec: round(refill.perSec),
    },
    errors: failures(first.samples, refill.samples, docker.samples),
  };
}

/** Rate of a series of end times, from the first of them to the last. */
function perSecond(ends: readonly number[]): number {
  const first = ends[0];
  const last = ends.at(-1);
  return first === undefined || last === undefined || ends.length < 8
    ? Number.NaN
    : ((ends.length - 1) * 1000) / (last - first);
}
