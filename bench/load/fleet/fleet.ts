/** The generator processes of a run, used as one: a plan is split into shares, and their results are merged. */
import { Recording } from '../generator/recording.ts';
import type { Plan, Progress, Usage } from '../generator/plan.ts';
import { Histogram } from '../../report/histogram.ts';
import { GeneratorProcess } from './generator-process.ts';

/** Between the order and the common start: longer than the order takes to arrive. */
const HEAD_START_MS = 250;
const PREPARE_LIMIT_MS = 600_000;
/** Allowed beyond the time that the plan itself takes. */
const PATIENCE_MS = 300_000;

export interface Phase {
  recording: Recording;
  /** From the common start to the end of the last generator. */
  elapsedMs: number;
  usage: Usage[];
}

export class Fleet implements AsyncDisposable {
  readonly #generators: GeneratorProcess[];

  constructor(size: number) {
    this.#generators = Array.from({ length: size }, (_, i) => new GeneratorProcess(`generator ${i + 1}`));
  }

  get size(): number {
    return this.#generators.length;
  }

  /**
   * Runs a plan, each generator its share, all starting at the same moment.
   * @throws Error when a generator failed or did not end in time. Failed calls are in the recording.
   */
  async run(plan: Plan, onProgress: (progress: Progress) => void = () => undefined): Promise<Phase> {
    const shares = sharesOf(plan, this.#generators.length);
    const used = this.#generators.slice(0, shares.length);
    await Promise.all(used.map((generator, i) => generator.prepare(shares[i] as Plan, PREPARE_LIMIT_MS)));
    const last = used.map((): Progress | undefined => undefined);
    const atMs = Date.now() + HEAD_START_MS;
    const limitMs = ('durationMs' in plan ? plan.durationMs : 0) + PATIENCE_MS;
    const done = await Promise.all(
      used.map((generator, i) =>
        generator.run(atMs, limitMs, (progress) => {
          last[i] = progress;
          onProgress(together(last));
        }),
      ),
    );
    const recording = new Recording();
    for (const { recording: part } of done) recording.merge(part);
    const usage = done.map((each) => each.usage);
    return { recording, usage, elapsedMs: Math.max(...usage.map((each) => each.elapsedMs)) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#generators.map((generator) => generator.end()));
  }
}

/** Counts are split so that the shares add up to the plan; a generator without a share is not used. */
export function sharesOf(plan: Plan, size: number): Plan[] {
  const cut = (total: number): number[] =>
    Array.from({ length: size }, (_, i) => Math.floor((total * (i + 1)) / size) - Math.floor((total * i) / size));
  const seeded = (i: number): { seed: number } => ({ seed: plan.seed + i * 1_000_003 });
  switch (plan.workload) {
    case 'exec-closed':
      return cut(plan.callers).flatMap((callers, i) => (callers === 0 ? [] : [{ ...plan, ...seeded(i), callers }]));
    case 'create-burst':
    case 'rollouts':
      return cut(plan.count).flatMap((count, i) => (count === 0 ? [] : [{ ...plan, ...seeded(i), count }]));
    case 'exec-open': {
      const used = Math.min(size, plan.sandboxes);
      return sharesOfRate(plan, used).map((share, i) => ({
        ...share,
        ...seeded(i),
        sandboxes: Math.floor((plan.sandboxes * (i + 1)) / used) - Math.floor((plan.sandboxes * i) / used),
      }));
    }
    case 'creates':
      return sharesOfRate(plan, size).map((share, i) => ({ ...share, ...seeded(i) }));
  }
}

/** Independent callers split into equal groups remain independent: their rates add up. */
function sharesOfRate<P extends { perSec: number }>(plan: P, size: number): P[] {
  return Array.from({ length: size }, () => ({ ...plan, perSec: plan.perSec / size }));
}

function together(all: readonly (Progress | undefined)[]): Progress {
  const recent = new Histogram();
  const sum: Progress = { done: 0, failed: 0, underWay: 0, recent: recent.toJSON() };
  for (const each of all) {
    if (each === undefined) continue;
    sum.done += each.done;
    sum.failed += each.failed;
    sum.underWay += each.underWay;
    recent.merge(each.recent);
  }
  return { ...sum, recent: recent.toJSON() };
}
