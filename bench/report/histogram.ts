/**
 * Times in bounded memory: a log-linear histogram of integer microseconds, as in HdrHistogram. Each power of two is
 * divided into 256 buckets, so that a percentile is at most 1/256 above the sample it represents, and never below it.
 */
import { round, type Row } from './statistics.ts';

const PARTS = 256;
/** 2^32 µs, 71 minutes: longer times count as that. */
const MAX_US = 2 ** 32 - 1;

/** A histogram as it is sent between processes and stored in files. */
export interface HistogramJson {
  /** Index of a bucket and its count, by index. */
  parts: [number, number][];
  sumMs: number;
  minMs: number;
  maxMs: number;
}

export class Histogram {
  readonly #parts = new Map<number, number>();
  #count = 0;
  #sumMs = 0;
  #minMs = Infinity;
  #maxMs = -Infinity;

  get count(): number {
    return this.#count;
  }

  /** Exact, as `minMs` and `maxMs`. NaN of no samples. */
  get meanMs(): number {
    return this.#count === 0 ? Number.NaN : this.#sumMs / this.#count;
  }

  get sumMs(): number {
    return this.#sumMs;
  }

  get minMs(): number {
    return this.#count === 0 ? Number.NaN : this.#minMs;
  }

  get maxMs(): number {
    return this.#count === 0 ? Number.NaN : this.#maxMs;
  }

  record(ms: number): void {
    this.#add(partOf(ms), 1);
    this.#sumMs += ms;
    this.#minMs = Math.min(this.#minMs, ms);
    this.#maxMs = Math.max(this.#maxMs, ms);
  }

  /** Adds all samples of another one. */
  merge(other: HistogramJson): void {
    for (const [part, times] of other.parts) this.#add(part, times);
    if (other.parts.length === 0) return;
    this.#sumMs += other.sumMs;
    this.#minMs = Math.min(this.#minMs, other.minMs);
    this.#maxMs = Math.max(this.#maxMs, other.maxMs);
  }

  /** The time that at least the fraction `q` of all does not exceed (nearest rank). NaN of no samples. */
  percentile(q: number): number {
    const rank = Math.max(1, Math.ceil(q * this.#count));
    let seen = 0;
    for (const [part, times] of this.#sorted()) {
      seen += times;
      if (seen >= rank) return Math.min(endOfPart(part), this.#maxMs);
    }
    return Number.NaN;
  }

  /** Cumulative counts for a curve: times ascend, the last count is `count`. */
  cumulative(): { ms: number; count: number }[] {
    let count = 0;
    return this.#sorted().map(([part, times]) => {
      count += times;
      return { ms: Math.min(endOfPart(part), this.#maxMs), count };
    });
  }

  toJSON(): HistogramJson {
    return {
      parts: this.#sorted(),
      sumMs: this.#sumMs,
      minMs: this.#count === 0 ? 0 : this.#minMs,
      maxMs: this.#count === 0 ? 0 : this.#maxMs,
    };
  }

  static fromJSON(json: HistogramJson): Histogram {
    const histogram = new Histogram();
    histogram.merge(json);
    return histogram;
  }

  #add(part: number, times: number): void {
    this.#parts.set(part, (this.#parts.get(part) ?? 0) + times);
    this.#count += times;
  }

  #sorted(): [number, number][] {
    return [...this.#parts].sort(([a], [b]) => a - b);
  }
}

/** @param failed calls without a time. @param elapsedMs duration of the whole row, when its calls overlap. */
export function rowOf(name: string, times: Histogram, { failed = 0, elapsedMs = times.sumMs } = {}): Row {
  const at = (q: number): number => round(times.percentile(q));
  return {
    name,
    n: times.count + failed,
    ok: times.count,
    p50Ms: at(0.5),
    p90Ms: at(0.9),
    p95Ms: at(0.95),
    p99Ms: at(0.99),
    p999Ms: at(0.999),
    maxMs: round(times.maxMs),
    perSec: elapsedMs > 0 ? round((times.count * 1000) / elapsedMs) : 0,
  };
}

/** Below 512 µs each microsecond has its own bucket. */
function partOf(ms: number): number {
  const us = Math.min(MAX_US, Math.max(0, Math.ceil(ms * 1000)));
  if (us < 2 * PARTS) return us;
  const shift = 23 - Math.clz32(us);
  return shift * PARTS + Math.floor(us / 2 ** shift);
}

/** The largest time of a bucket, in milliseconds. */
function endOfPart(part: number): number {
  if (part < 2 * PARTS) return part / 1000;
  const shift = Math.floor(part / PARTS) - 1;
  const inPart = part - shift * PARTS;
  return ((inPart + 1) * 2 ** shift - 1) / 1000;
}
