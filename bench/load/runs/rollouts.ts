/**
 * The load that millibox is made for: steps of a training run, each a batch of rollouts that start at the same moment.
 * In two steps the sandboxes are requested ahead, at the start of the model's first turn, and in a third in line, when
 * its first command is ready. Think times are the same in all. The first step is kept apart: it is the first burst of
 * creates that the service sees, so much of its code is still interpreted.
 */
import { ratio, round } from '../../report/statistics.ts';
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
    await bench.poolReady(pool);
    const firstStep = await bench.phase('first-step', { ...plan, create: 'ahead' });
    await bench.poolReady(pool);
    const ahead = await bench.phase('ahead', { ...plan, create: 'ahead' });
    await bench.poolReady(pool);
    const inLine = await bench.phase('in-line', { ...plan, create: 'in-line' });

    const times = (phase: typeof ahead, name: string) => phase.recording.series(name).times;
    const firstWaitVsExec = (phase: typeof ahead, first = 'command.first') =>
      ratio(times(phase, first).percentile(0.99), times(phase, 'command').percentile(0.99));
    const first = times(ahead, 'command.first');
    const firstInLine = times(inLine, 'command.first');
    const complete = (phase: typeof ahead) => phase.recording.counters.get('rollouts.complete') ?? 0;
    return {
      setup: { rollouts: count, commands: COMMANDS, firstTurnMs: FIRST_TURN_MS, turnMs: TURN_MS, pool },
      phases: { 'first-step': firstStep, ahead, 'in-line': inLine },
      drawn: ['command.first', 'command'],
      drawnPhases: ['ahead', 'in-line'],
      ratios: {
        success: ratio(complete(firstStep) + complete(ahead) + complete(inLine), 3 * count),
        firstWaitP99VsExecP99: firstWaitVsExec(ahead),
        firstWaitP99VsExecP99LongTurn: firstWaitVsExec(ahead, 'command.first.long-turn'),
        firstWaitP99VsExecP99FirstStep: firstWaitVsExec(firstStep),
        firstWaitP50VsExecP50: ratio(first.percentile(0.5), times(ahead, 'command').percentile(0.5)),
        // While a first command is awaited, its slot on the GPU is idle.
        gpuIdleSavedS: round(((firstInLine.meanMs - first.meanMs) * count) / 1000),
        gpuIdleSavedMsEach: round(firstInLine.meanMs - first.meanMs),
        firstWaitVsInLine: ratio(first.meanMs, firstInLine.meanMs),
      },
    };
  },
};
