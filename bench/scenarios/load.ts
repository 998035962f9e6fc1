/** A running service under the load of several processes. */
import { availableParallelism } from 'node:os';
import { calibrate } from '../load/calibration/calibrate.ts';
import { Fleet } from '../load/fleet/fleet.ts';
import { LeakCheck } from '../load/fleet/leaks.ts';
import { createBurst, creates } from '../load/runs/creates.ts';
import { execStorm } from '../load/runs/exec-storm.ts';
import { LoadBench, type LoadRun, type Measured } from '../load/runs/load-run.ts';
import { outcomeOf } from '../load/runs/outcome.ts';
import { rollouts } from '../load/runs/rollouts.ts';
import type { Options, Outcome, Scenario, Target } from './scenario.ts';

export const LOADS: readonly LoadRun[] = [execStorm, createBurst, creates, rollouts];
const MAX_DEFAULT_GENERATORS = 4;
const MAX_WARM_UP = 64;
const WARM_UP = { workload: 'rollouts', create: 'ahead', commands: 40, firstTurnMs: 100, turnMs: 50 } as const;

export const load: Scenario = {
  name: 'load',
  describe: `a service under load: ${LOADS.map(({ name }) => name).join(', ')}`,
  subjects: LOADS,
  pool: (options) => runOf(options).pool(options),

  async run(target, options): Promise<Outcome> {
    const run = runOf(options);
    const label = `load-${process.pid}-${Date.now().toString(36)}`;
    const generators = options.generators ?? Math.min(MAX_DEFAULT_GENERATORS, Math.max(2, availableParallelism()));
    await using fleet = new Fleet(generators);
    options.progress('load: calibrating the generators');
    const calibration = await calibrate(fleet, run.callers(options));
    options.progress('load: warming up');
    await warmUp(target, fleet, label, Math.min(MAX_WARM_UP, run.pool(options)));
    const leaks = await LeakCheck.begin(target, label);
    let measured: Measured;
    try {
      measured = await run.run(new LoadBench(options, target, fleet, label));
    } catch (error) {
      await target.client.sandboxes.deleteByLabel({ load: label }).catch(() => undefined);
      throw error;
    }
    options.progress('load: looking for what is left');
    const left = await leaks.end();
    // Leftovers have been counted: now they are removed.
    await target.client.sandboxes.deleteByLabel({ load: label });

    return outcomeOf({ run, target, measured, calibration, left, generators });
  },
};

/**
 * The first sandbox of an image waits for the image, its first programs for the disk, and the first thousands of
 * commands of a process for its compiler: none of that belongs to the load, and whichever phase came first would pay
 * for it.
 */
async function warmUp(
  { client, image, url, apiKey }: Target,
  fleet: Fleet,
  label: string,
  count: number,
): Promise<void> {
  await using sandbox = client.sandboxes.create({ image, labels: { load: label } });
  await sandbox.exec('true', { check: true });
  await fleet.run({ ...WARM_UP, server: { url, apiKey }, image, label, seed: 0, count });
}

function runOf(options: Options): LoadRun {
  const run = LOADS.find(({ name }) => name === options.subject);
  if (run === undefined) throw new Error(`which load? ${LOADS.map(({ name }) => name).join(', ')}`);
  return run;
}
