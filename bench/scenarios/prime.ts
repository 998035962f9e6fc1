/**
 * The official Prime client against the SDK: the same commands in sandboxes of the same kind, and 64 concurrent
 * rollouts.
 */
import { interleave } from '../load/concurrency.ts';
import { poolReady } from '../load/pool.ts';
import { PrimeClient } from '../load/prime-client.ts';
import { mustSucceed, Sandboxes } from '../load/sandboxes.ts';
import { ratio, Samples } from '../report/statistics.ts';
import { failures, type Figures, type Outcome, type Scenario } from './scenario.ts';

const DEFAULT_ROUNDS = 100;
const WARM_UP_ROUNDS = 5;
const CREATE_EVERY = 4;
const ROLLOUTS = 64;
const COMMANDS = 3;
const POOL = 16;

export const prime: Scenario = {
  name: 'prime',
  describe: `exec and create through the official Prime client against the SDK, and ${ROLLOUTS} rollouts at once`,
  pool: () => POOL,

  async run(target, options): Promise<Outcome> {
    const rounds = options.n ?? DEFAULT_ROUNDS;
    await using sandboxes = new Sandboxes(target.client, target.image);
    await poolReady(target.operator, 1);
    await using client = await PrimeClient.start({
      ...target,
      label: sandboxes.label,
      directory: options.run.directory,
    });
    const steady = sandboxes.create();
    // The Prime API runs every command with bash: so does this, to compare the same work.
    const native = () => mustSucceed(steady.exec('true', { shell: 'bash' }));
    await native();

    const take = async (samples: Samples, order: string): Promise<void> => {
      try {
        samples.add((await client.ask<{ ms: number }>({ do: order })).ms);
      } catch (error) {
        samples.fail(error);
      }
    };
    const measure = async (n: number) => {
      const rows = primeSamples();
      await interleave(n, [
        { run: () => rows.execs.time(native) },
        { run: () => take(rows.primeExecs, 'exec') },
        {
          every: CREATE_EVERY,
          run: async () => {
            await poolReady(target.operator, 1);
            let made: ReturnType<Sandboxes['create']> | undefined;
            // Ready in the Prime client's sense: it runs one command to be sure.
            await rows.creates.time(async () => {
              made = sandboxes.create();
              await mustSucceed(made.exec('true', { shell: 'bash' }));
            });
            if (made !== undefined) await sandboxes.delete(made);
          },
        },
        {
          every: CREATE_EVERY,
          run: async () => {
            await poolReady(target.operator, 1);
            await take(rows.primeCreates, 'create');
          },
        },
      ]);
      return rows;
    };

    options.progress('prime: warming up');
    await measure(WARM_UP_ROUNDS);
    options.progress(`prime: ${rounds} rounds`);
    const samples = await measure(rounds);

    options.progress(`prime: ${ROLLOUTS} rollouts at once`);
    await poolReady(target.operator, POOL);
    const rollouts = new Samples('prime.rollouts');
    const start = performance.now();
    const answer = await client.ask<{ rollouts: ({ ms: number } | { error: string })[] }>({
      do: 'rollouts',
      n: ROLLOUTS,
      commands: COMMANDS,
    });
    const elapsed = performance.now() - start;
    for (const each of answer.rollouts) {
      if ('ms' in each) rollouts.add(each.ms);
      else rollouts.fail(each.error);
    }
    const { left } = await client.ask<{ left: number }>({ do: 'clean' });

    return {
      setup: { rounds, rollouts: ROLLOUTS, commands: COMMANDS },
      ...primeFigures(samples, { samples: rollouts, elapsedMs: elapsed, left }),
    };
  },
};

export const primeSamples = () => ({
  execs: new Samples('exec'),
  primeExecs: new Samples('prime.exec'),
  creates: new Samples('create'),
  primeCreates: new Samples('prime.create'),
});

/** `rollouts.left`: sandboxes that still exist when all rollouts have ended. */
export function primeFigures(
  { execs, primeExecs, creates, primeCreates }: ReturnType<typeof primeSamples>,
  rollouts: { samples: Samples; elapsedMs: number; left: number },
): Figures {
  return {
    rows: [execs.row(), primeExecs.row(), creates.row(), primeCreates.row(), rollouts.samples.row(rollouts.elapsedMs)],
    ratios: {
      primeExecVsNative: ratio(primeExecs.p50, execs.p50),
      primeCreateVsNative: ratio(primeCreates.p50, creates.p50),
      rolloutsOk: rollouts.samples.times.length,
      left: rollouts.left,
    },
    errors: failures(execs, primeExecs, creates, primeCreates, rollouts.samples),
  };
}
