/** Commands in running sandboxes: a closed loop finds the maximum rate, an open loop the times at a given rate. */
import type { Sandbox } from '../../../../src/sdk/index.ts';
import { poissonArrivals } from '../../random/random.ts';
import { closedLoop } from '../../concurrency.ts';
import { echo, runKnown } from '../known-command.ts';
import { openLoop } from '../pacing.ts';
import type { ExecClosedPlan, ExecOpenPlan } from '../plan.ts';
import type { Context, Workload } from './workload.ts';

const MAX_UNDER_WAY = 4_096;

export function execClosed(context: Context, plan: ExecClosedPlan): Workload {
  const { callers, durationMs, seed } = plan;
  let sandboxes: Sandbox[] = [];
  let number = 0;
  return {
    main: 'exec',
    prepare: async () => void (sandboxes = await context.running(callers)),
    run: async () => {
      await closedLoop(callers, durationMs, (caller) =>
        context.during(async () => {
          const known = echo(`${seed}.${number++}`);
          await context.recording.time('exec', performance.now(), () => runKnown(sandboxes[caller] as Sandbox, known));
        }),
      );
    },
  };
}

export function execOpen(context: Context, plan: ExecOpenPlan): Workload {
  const { perSec, durationMs, seed } = plan;
  let sandboxes: Sandbox[] = [];
  return {
    main: 'exec',
    prepare: async () => void (sandboxes = await context.running(plan.sandboxes)),
    run: (startedAt) =>
      openLoop({
        arrivals: poissonArrivals(context.random, perSec, durationMs),
        startedAt,
        maxUnderWay: MAX_UNDER_WAY,
        late: (ms) => context.recording.series('generator.late').times.record(ms),
        call: (intendedAt, index) =>
          context.during(async () => {
            const sandbox = sandboxes[index % sandboxes.length] as Sandbox;
            await context.recording.time('exec', intendedAt, () => runKnown(sandbox, echo(`${seed}.${index}`)));
          }),
      }),
  };
}
