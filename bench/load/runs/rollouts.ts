/**
 * The load that millibox is made for: steps of a training run, each a batch of rollouts that start at the same moment,
 * with the same think times. `ahead`: sandboxes are requested at the start of the model's first turn; `next-step`: once
 * more, since the code of creates is still interpreted in the first burst that a service sees; `in-line`: sandboxes are
 * requested when the first command is ready.
 */
import { ratio, round } from '../../report/statistics.ts';
import type { Phase } from '../fleet/fleet.ts';
import type { RolloutsPlan } from '../generator/plan.ts';
import type { LoadRun } from './load-run.ts';

const DEFAULT_ROLLOUTS = 512;
const COMMANDS = 6;
const FIRST_TURN_MS = 2_000;
const TURN_MS = 2_000;
const MAX_CALIBRATED = 64;

export const rollouts: LoadRun = {
  name: 'rollouts',
  describe: 'N rollouts at once: create, a first turn of about 2 s, commands with think time, delete',
  pool: (options) => options.pool ?? options.n ?? DEFAULT_ROLLOUTS,
  callers: (options) => Math.min(MAX_CALIBRATED, options.n ?? DEFAULT_ROLLOUTS),

  async run(bench) {
    const count = bench.options.n ?? DEFAULT_ROLLOUTS;
    const pool = rollouts.pool(bench.options);
    const plan = {
      workload: 'rollouts',
      count,
      commands: COMMANDS,
      firstTurnMs: FIRST_TURN_MS,
      turnMs: TURN_MS,
    } as const;
    const step = async (name: string, create: RolloutsPlan['create']) => {
      await bench.poolReady(pool);
      return await bench.phase(name, { ...plan, create });
    };
    const ahead = await step('ahead', 'ahead');
    const nextStep = await step('next-step', 'ahead');
    const inLine = await step('in-line', 'in-line');

    const times = (phase: Phase, name: string) => phase.recording.series(name).times;
    const waitVsExec = (phase: Phase, waits: string) =>
      ratio(times(phase, waits).percentile(0.99), times(phase, 'command').percentile(0.99));
    const first = times(ahead, 'command.first');
    const firstInLine = times(inLine, 'command.first');
    const phases = { ahead, 'next-step': nextStep, 'in-line': inLine };
    const complete = Object.values(phases).map(({ recording }) => recording.counters.get('rollouts.complete') ?? 0);
    return {
      setup: { rollouts: count, commands: COMMANDS, firstTurnMs: FIRST_TURN_MS, turnMs: TURN_MS, pool },
      phases,
      drawn: ['command.first', 'command'],
      drawnPhases: ['ahead', 'in-line'],
      ratios: {
        success: ratio(
          complete.reduce((sum, each) => sum + each, 0),
          complete.length * count,
        ),
        firstWaitP99VsExecP99: waitVsExec(ahead, 'command.first'),
        firstWaitP99VsExecP99LongTurn: waitVsExec(ahead, 'command.first.long-turn'),
        firstWaitP99VsExecP99NextStep: waitVsExec(nextStep, 'command.first'),
        firstWaitP50VsExecP50: ratio(first.percentile(0.5), times(ahead, 'command').percentile(0.5)),
        // While a first command is awaited, its slot on the GPU is idle.
        gpuIdleSavedS: round(((firstInLine.meanMs - first.meanMs) * count) / 1000),
        gpuIdleSavedMsEach: round(firstInLine.meanMs - first.meanMs),
        firstWaitVsInLine: ratio(first.meanMs, firstInLine.meanMs),
      },
    };
  },
};
