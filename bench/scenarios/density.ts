/** What one more idle sandbox costs, and what an exec costs among many of them. */
import { interleave, spread } from '../load/concurrency.ts';
import { machineUsedMb } from '../load/memory.ts';
import { mustSucceed, Sandboxes } from '../load/sandboxes.ts';
import { ratio, round, Samples } from '../report/statistics.ts';
import { failures, type Figures, type Outcome, type Scenario } from './scenario.ts';
import { sleep } from '../../src/lib/deadline.ts';

const DEFAULT_N = 1_000;
const EXECS = 300;
const WARM_UP = 30;
const WIDTH = 16;
const TRUE = ['/bin/true'];

export const density: Scenario = {
  name: 'density',
  describe: 'N idle sandboxes alive at once: memory of each, and an exec among them against an exec alone',
  pool: () => 0,

  async run(target, options): Promise<Outcome> {
    const n = options.n ?? DEFAULT_N;
    await using sandboxes = new Sandboxes(target.client, target.image);
    const one = sandboxes.create({ memoryMb: 128 });
    const measure = async (name: string): Promise<Samples> => {
      const execs = new Samples(name);
      const warmUp = new Samples('warm-up');
      await interleave(WARM_UP, [{ run: () => warmUp.time(() => mustSucceed(one.exec(TRUE))) }]);
      await interleave(EXECS, [{ run: () => execs.time(() => mustSucceed(one.exec(TRUE))) }]);
      return execs;
    };

    options.progress('density: an exec alone');
    const alone = await measure('exec.alone');
    const usedBefore = machineUsedMb();
    options.progress(`density: ${n} sandboxes`);
    const created = new Samples('create+exec');
    const start = performance.now();
    await spread(n - 1, WIDTH, () => created.time(() => mustSucceed(sandboxes.create({ memoryMb: 128 }).exec(TRUE))));
    const createdMs = performance.now() - start;
    // Memory used only during creation (page cache of logs, freed pages) is returned first.
    await sleep(3_000);
    const perSandboxMb = (machineUsedMb() - usedBefore) / Math.max(1, created.times.length);
    options.progress('density: an exec among them');
    const among = await measure('exec.among');
    const figures = densityFigures({ created, alone, among }, createdMs, perSandboxMb);
    return { setup: { n, alive: created.times.length + 1 }, ...figures };
  },
};

export function densityFigures(
  { created, alone, among }: { created: Samples; alone: Samples; among: Samples },
  createdMs: number,
  perSandboxMb: number,
): Figures {
  return {
    rows: [created.row(createdMs), alone.row(), among.row()],
    ratios: {
      rssPerSandboxMb: round(perSandboxMb),
      execAmongVsAlone: ratio(among.p50, alone.p50),
      alive: created.times.length + 1,
    },
    errors: failures(created, alone, among),
  };
}
