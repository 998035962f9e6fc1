/**
 * Rollouts as in reinforcement learning: a model thinks, a command runs, the model thinks again. While a command is
 * awaited, the rollout's slot on the GPU is idle; so what counts is how long the first command waits for its sandbox.
 */
import { sleep } from '../../../../src/lib/deadline.ts';
import { Random } from '../../random/random.ts';
import { agentCommand, checkLedger, runKnown } from '../known-command.ts';
import type { RolloutsPlan } from '../plan.ts';
import type { Context, Workload } from './workload.ts';

/** Standard deviation of the logarithms of think times: two thirds are within a factor of 1.65 of the median. */
const SIGMA = 0.5;
/** A shorter first turn may be over before the sandboxes of a large batch are ready. */
const LONG_TURN_MS = 1_000;

export function rollouts(context: Context, plan: RolloutsPlan): Workload {
  const { count, seed } = plan;
  return {
    main: 'command',
    run: async (startedAt) => {
      await Promise.all(
        Array.from({ length: count }, (_, index) =>
          context.during(() => rollout(context, plan, seed + index, startedAt)),
        ),
      );
    },
  };
}

async function rollout(context: Context, plan: RolloutsPlan, seed: number, startedAt: number): Promise<void> {
  const { recording } = context;
  // A separate sequence: both ways of creating get the same think times.
  const random = new Random(seed);
  const firstTurnMs = random.logNormal(plan.firstTurnMs, SIGMA);
  const ahead = plan.create === 'ahead' ? context.create() : undefined;
  const answered = ahead && recording.time('create.answer', startedAt, () => ahead.created());
  // A refused create also fails the first command.
  answered?.catch(() => undefined);
  await sleep(firstTurnMs);

  const neededAt = performance.now();
  const sandbox = ahead ?? context.create();
  try {
    await recording.time('command.first', neededAt, () => runKnown(sandbox, agentCommand(seed, 0)));
    if (firstTurnMs >= LONG_TURN_MS) recording.ok('command.first.long-turn', neededAt);
    for (let turn = 1; turn < plan.commands; turn++) {
      await sleep(random.logNormal(plan.turnMs, SIGMA));
      await recording.time('command', performance.now(), () => runKnown(sandbox, agentCommand(seed, turn)));
    }
    await recording.time('ledger', performance.now(), () => checkLedger(sandbox, plan.commands));
    recording.count('rollouts.complete');
  } finally {
    await context.delete(sandbox);
  }
  recording.ok('rollout', startedAt);
}
