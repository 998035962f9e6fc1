/** The first command of a sandbox over many different images, against one image, and with no warm container against docker run. */
import { DockerBaseline } from '../load/docker.ts';
import { MadeImages, PROGRAM_INSIDE } from '../load/images.ts';
import { interleave } from '../load/concurrency.ts';
import { atRest } from '../load/pool.ts';
import { mustSucceed, Sandboxes } from '../load/sandboxes.ts';
import { ratio, round, percentile, Samples } from '../report/statistics.ts';
import { failures, type Figures, type Outcome, type Scenario } from './scenario.ts';

const DEFAULT_N = 200;
const DOCKER_RUNS = 12;
const COLD_RUNS = 24;
const POOL = 8;
const TRUE = [PROGRAM_INSIDE];

export const images: Scenario = {
  name: 'images',
  describe: 'create and first command over N images that differ, against one image; pool empty, against docker run',
  pool: () => POOL,

  // Before the server starts, which has to know their location.
  prepare: async (options) => {
    const n = options.n ?? DEFAULT_N;
    options.progress(`images: making ${n} images`);
    return await MadeImages.make(n, options.binaries.true, options.run.directory);
  },

  async run(target, options, made): Promise<Outcome> {
    if (!(made instanceof MadeImages)) throw new TypeError('the images were not made');
    const n = options.n ?? DEFAULT_N;
    await using sandboxes = new Sandboxes(target.client, target.image);
    options.progress('images: bringing them to the node');
    await made.load(target.runtime, target.operator);
    await using docker = await DockerBaseline.find(target.image, options.run.directory);

    const samples = imagesSamples();
    const claims: number[] = [];
    const warm = target.pids === undefined ? 1 : POOL;
    const createIn = (row: Samples, image: string) => async (): Promise<void> => {
      await atRest(target.operator, warm);
      let sandbox: ReturnType<Sandboxes['create']> | undefined;
      await row.time(async () => {
        sandbox = sandboxes.create({ image });
        await mustSucceed(sandbox.exec(TRUE));
      });
      if (sandbox === undefined) return;
      const { timings } = await sandbox.refresh();
      if (timings.claimedMs !== undefined && timings.runningMs !== undefined) {
        claims.push(timings.runningMs - timings.claimedMs);
      }
      await sandboxes.delete(sandbox);
    };
    const first = made.refs[0];
    if (first === undefined) throw new Error('no image was made');
    options.progress('images: warming up');
    await createIn(new Samples('warm-up'), first)();
    options.progress(`images: ${n} images, one sandbox each`);
    await interleave(n, [
      { run: (round) => createIn(samples.many, made.refs[round % made.refs.length] as string)() },
      { run: () => createIn(samples.one, first)() },
    ]);

    // Cold: as many are requested at once as empty the pool; the ones after that had no warm container.
    options.progress('images: with the pool empty');
    for (let i = 0; i < COLD_RUNS; i++) {
      const drained = await Promise.all(
        Array.from({ length: Math.max(1, await target.operator.warm()) }, async () => {
          const sandbox = sandboxes.create();
          await mustSucceed(sandbox.exec(['/bin/true']));
          return sandbox;
        }),
      );
      const image = made.refs[i % made.refs.length] as string;
      let sandbox: ReturnType<Sandboxes['create']> | undefined;
      const start = performance.now();
      try {
        sandbox = sandboxes.create({ image });
        await mustSucceed(sandbox.exec(TRUE));
        const ms = performance.now() - start;
        // A refill in between made this one warm: it reveals nothing about a cold create.
        if ((await sandbox.refresh()).timings.warm !== true) samples.cold.add(ms);
      } catch (error) {
        samples.cold.fail(error);
      }
      for (const each of [...drained, ...(sandbox === undefined ? [] : [sandbox])]) await sandboxes.delete(each);
    }
    options.progress('images: docker run');
    if (docker !== undefined) {
      await interleave(DOCKER_RUNS, [{ run: () => samples.runs.time(() => docker.run(['/bin/true'])) }]);
    }

    return { setup: { images: n, coldRuns: samples.cold.times.length }, ...imagesFigures(samples, claims) };
  },
};

export const imagesSamples = () => ({
  many: new Samples('create+exec.many-images'),
  one: new Samples('create+exec.one-image'),
  cold: new Samples('create+exec.pool-empty'),
  runs: new Samples('docker.run'),
});

/** @param claims how long each claim took, in milliseconds. */
export function imagesFigures(
  { many, one, cold, runs }: ReturnType<typeof imagesSamples>,
  claims: readonly number[],
): Figures {
  const sortedClaims = claims.toSorted((a, b) => a - b);
  return {
    rows: [many.row(), one.row(), cold.row(), runs.row()],
    ratios: {
      imagesVsOne: ratio(many.p50, one.p50),
      dockerRunVsCold: ratio(runs.p50, cold.p50),
      claimP50Ms: round(percentile(sortedClaims, 0.5)),
    },
    errors: failures(many, one, cold, runs),
  };
}
