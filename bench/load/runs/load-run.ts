/** One load of `bench -- load`: phases that the generators run one after the other, and their evaluation. */
import type { Options, Target } from '../../scenarios/scenario.ts';
import { round } from '../../report/statistics.ts';
import { Histogram } from '../../report/histogram.ts';
import type { Fleet, Phase } from '../fleet/fleet.ts';
import type { Plan, Progress } from '../generator/plan.ts';
import { poolReady } from '../pool.ts';

export interface Measured {
  setup: Record<string, string | number | boolean>;
  /** By name, in the order in which they ran. */
  phases: Record<string, Phase>;
  /** The series of each phase that are plotted. */
  drawn: readonly string[];
  /** The phases that are plotted, the first of them also over time. Absent: all. */
  drawnPhases?: readonly string[];
  ratios: Record<string, number | null>;
}

export interface LoadRun {
  name: string;
  describe: string;
  /** Warm containers needed at its start. */
  pool(options: Options): number;
  /** Approximate number of calls in flight: the generators are calibrated with it. */
  callers(options: Options): number;
  run(bench: LoadBench): Promise<Measured>;
}

/** The part of a plan that its run provides. */
type Share<P> = P extends Plan ? Omit<P, 'server' | 'image' | 'label' | 'seed'> : never;

const SEED = 7;

export class LoadBench {
  readonly options: Options;
  readonly #target: Target;
  readonly #fleet: Fleet;
  readonly #label: string;

  constructor(options: Options, target: Target, fleet: Fleet, label: string) {
    this.options = options;
    this.#target = target;
    this.#fleet = fleet;
    this.#label = label;
  }

  async phase(name: string, share: Share<Plan>): Promise<Phase> {
    const { url, apiKey, image } = this.#target;
    const plan: Plan = { ...share, server: { url, apiKey }, image, label: this.#label, seed: SEED };
    this.options.progress(`load: ${name}`);
    const startedAt = performance.now();
    return await this.#fleet.run(plan, (progress) => {
      this.options.status(`${name}  ${Math.round((performance.now() - startedAt) / 1000)} s  ${describe(progress)}`);
    });
  }

  /** Waits until the pool is full, if the server is ours: for another one its size is unknown. */
  async poolReady(warm: number): Promise<void> {
    if (this.#target.pids === undefined) return;
    this.options.progress(`load: filling the pool to ${warm}`);
    await poolReady(this.#target.operator, warm);
  }
}

function describe({ done, failed, underWay, recent }: Progress): string {
  const times = Histogram.fromJSON(recent);
  const pace =
    times.count === 0
      ? ''
      : `, ${times.count}/s, p50 ${round(times.percentile(0.5))} ms, p99 ${round(times.percentile(0.99))} ms`;
  return `${done} done, ${underWay} under way${pace}, ${failed} failed`;
}
