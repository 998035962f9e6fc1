/** Sandboxes requested all at once, or at a rate; each is done once its first command has ended. */
import { poissonArrivals } from '../../random/random.ts';
import { echo, runKnown } from '../known-command.ts';
import { openLoop } from '../pacing.ts';
import type { BurstPlan, CreatesPlan } from '../plan.ts';
import type { Context, Workload } from './workload.ts';

const MAX_UNDER_WAY = 2_048;

export function createBurst(context: Context, plan: BurstPlan): Workload {
  const { count, seed } = plan;
  return {
    main: 'create+exec',
    run: async (startedAt) => {
      await Promise.all(
        Array.from({ length: count }, (_, index) =>
          context.during(async () => {
            const sandbox = context.create();
            context.keep(sandbox);
            const { recording } = context;
            // The first command reports the same failure.
            recording.time('create.answer', startedAt, () => sandbox.created()).catch(() => undefined);
            await recording.time('create+exec', startedAt, () => runKnown(sandbox, echo(`${seed}.${index}`)));
          }),
        ),
      );
    },
  };
}

export function creates(context: Context, plan: CreatesPlan): Workload {
  const { perSec, durationMs, seed } = plan;
  const { recording } = context;
  return {
    main: 'create+exec',
    run: (startedAt) =>
      openLoop({
        arrivals: poissonArrivals(context.random, perSec, durationMs),
        startedAt,
        maxUnderWay: MAX_UNDER_WAY,
        late: (ms) => recording.series('generator.late').times.record(ms),
        call: (intendedAt, index) =>
          context.during(async () => {
            const sandbox = context.create();
            try {
              await recording.time('create+exec', intendedAt, () => runKnown(sandbox, echo(`${seed}.${index}`)));
            } finally {
              await context.delete(sandbox);
            }
          }),
      }),
  };
}
