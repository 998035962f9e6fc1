/** Statistics of one row. Every sample counts: nothing is trimmed, and a failure lowers `ok`. */

export interface Row {
  name: string;
  /** Attempted. */
  n: number;
  /** Succeeded; the times are of these. */
  ok: number;
  p50Ms: number;
  p90Ms: number;
  p95Ms: number;
  p99Ms: number;
  p999Ms: number;
  maxMs: number;
  /** Successes per second: relative to the row's own duration if known, otherwise to the sum of its samples. */
  perSec: number;
}

/**
 * The smallest sample that at least the fraction `q` of all samples does not exceed (nearest rank). NaN of no samples.
 */
export function percentile(sorted: readonly number[], q: number): number {
  const rank = Math.max(1, Math.ceil(q * sorted.length));
  return sorted[rank - 1] ?? Number.NaN;
}

/** Collects the samples of one row. */
export class Samples {
  readonly name: string;
  readonly times: number[] = [];
  readonly errors = new Map<string, number>();
  #tried = 0;

  constructor(name: string) {
    this.name = name;
  }

  add(ms: number): void {
    this.#tried += 1;
    this.times.push(ms);
  }

  fail(error: unknown): void {
    this.#tried += 1;
    const text = error instanceof Error ? error.message : String(error);
    this.errors.set(text, (this.errors.get(text) ?? 0) + 1);
  }

  /** Times one call; a throw is a failure of this row, not of the run. */
  async time(work: () => Promise<unknown>): Promise<void> {
    const start = performance.now();
    try {
      await work();
      this.add(performance.now() - start);
    } catch (error) {
      this.fail(error);
    }
  }

  get p50(): number {
    return percentile(this.#sorted(), 0.5);
  }

  /** @param elapsedMs duration of the whole row, when its calls overlap. */
  row(elapsedMs?: number): Row {
    const sorted = this.#sorted();
    const busyMs = elapsedMs ?? sorted.reduce((sum, ms) => sum + ms, 0);
    return {
      name: this.name,
      n: this.#tried,
      ok: sorted.length,
      p50Ms: round(percentile(sorted, 0.5)),
      p90Ms: round(percentile(sorted, 0.9)),
      p95Ms: round(percentile(sorted, 0.95)),
      p99Ms: round(percentile(sorted, 0.99)),
      p999Ms: round(percentile(sorted, 0.999)),
      maxMs: round(sorted.at(-1) ?? Number.NaN),
      perSec: busyMs > 0 ? round((sorted.length * 1000) / busyMs) : 0,
    };
  }

  #sorted(): number[] {
    return this.times.toSorted((a, b) => a - b);
  }
}

/** Three decimals: finer than the precision of any clock here. */
export const round = (value: number): number => Math.round(value * 1000) / 1000;

/** A ratio, or null when one side was not measured. */
export function ratio(above: number, below: number): number | null {
  const value = above / below;
  return Number.isFinite(value) ? round(value) : null;
}
