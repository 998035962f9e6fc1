/** From the call that creates a sandbox to the end of its first command, with a warm pool, against `docker run`. */
import { DockerBaseline } from '../load/docker.ts';
import { interleave } from '../load/concurrency.ts';
import { atRest } from '../load/pool.ts';
import { mustSucceed, Sandboxes } from '../load/sandboxes.ts';
import { samplesPlot } from '../report/plot/plots.ts';
import { ratio, Samples } from '../report/statistics.ts';
import { failures, type Figures, type Outcome, type Scenario } from './scenario.ts';

const DEFAULT_ROUNDS = 100;
/** See `exec`; creates are rarer, but the service runs as long. */
const WARM_UP_ROUNDS = 200;
const DOCKER_EVERY = 5;
const POOL = 8;
const TRUE = ['/bin/true'];

export const create: Scenario = {
  name: 'create',
  describe: 'create a sandbox and run its first command, pool hit, against docker run and against one exec',
  pool: () => POOL,

  async run(target, options): Promise<Outcome> {
    const rounds = options.n ?? DEFAULT_ROUNDS;
    await using sandboxes = new Sandboxes(target.client, target.image);
    await using docker = await DockerBaseline.find(target.image, options.run.directory);
    const steady = sandboxes.create();
    await mustSucceed(steady.exec(TRUE));

    const warm = target.pids === undefined ? 1 : (options.pool ?? POOL);
    const whenIdle = (work: () => Promise<void>) => async (): Promise<void> => {
      await atRest(target.operator, warm);
      await work();
    };

    const measure = async (n: number, dockerEvery: number) => {
      const samples = createSamples();
      await interleave(n, [
        {
          run: whenIdle(async () => {
            let sandbox: ReturnType<Sandboxes['create']> | undefined;
            await samples.made.time(async () => {
              sandbox = sandboxes.create();
              await mustSucceed(sandbox.exec(TRUE));
            });
            if (sandbox !== undefined) await sandboxes.delete(sandbox);
          }),
        },
        { run: whenIdle(() => samples.execs.time(() => mustSucceed(steady.exec(TRUE)))) },
        ...(docker === undefined
          ? []
          : [{ every: dockerEvery, run: whenIdle(() => samples.runs.time(() => docker.run(TRUE))) }]),
      ]);
      return samples;
    };

    options.progress('create: warming up');
    await measure(WARM_UP_ROUNDS, WARM_UP_ROUNDS);
    options.progress(`create: ${rounds} rounds`);
    const samples = await measure(rounds, DOCKER_EVERY);
    return {
      setup: { rounds, warmUpRounds: WARM_UP_ROUNDS },
      ...createFigures(samples),
      plots: {
        percentiles: samplesPlot('From create to the end of the first command', `/bin/true, ${rounds} rounds`, [
          samples.made,
          samples.execs,
          samples.runs,
        ]),
      },
    };
  },
};

export const createSamples = () => ({
  made: new Samples('create'),
  execs: new Samples('exec'),
  runs: new Samples('docker.run'),
});

export function createFigures({ made, execs, runs }: ReturnType<typeof createSamples>): Figures {
  return {
    rows: [made.row(), execs.row(), runs.row()],
    ratios: {
      dockerRunVsCreate: ratio(runs.p50, made.p50),
      createVsExec: ratio(made.p50, execs.p50),
    },
    errors: failures(made, execs, runs),
  };
}
