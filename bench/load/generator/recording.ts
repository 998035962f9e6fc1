/** What a generator has recorded: times and failures by code for each kind of call, also second by second. */
import { Histogram, rowOf, type HistogramJson } from '../../report/histogram.ts';
import type { Row } from '../../report/statistics.ts';
import { failureCode } from './failure.ts';

/** Longer runs continue in the last slot. */
const MAX_SECONDS = 3_600;
/** More kinds of failure than the error table has, and as many as anybody wants to read. */
const MAX_CODES = 64;

interface SeriesJson {
  times: HistogramJson;
  failures: [string, number][];
  seconds: [number, HistogramJson, number][];
}

export interface RecordingJson {
  series: [string, SeriesJson][];
  counters: [string, number][];
}

/** One second of a series. */
export interface Second {
  times: Histogram;
  failed: number;
}

export class Series {
  readonly times = new Histogram();
  readonly failures = new Map<string, number>();
  /** By the second in which the call ended, from the start of the run. */
  readonly seconds = new Map<number, Second>();

  get failed(): number {
    let sum = 0;
    for (const times of this.failures.values()) sum += times;
    return sum;
  }

  ok(ms: number, atMs: number): void {
    this.times.record(ms);
    this.#second(atMs).times.record(ms);
  }

  fail(code: string, atMs: number): void {
    const known = this.failures.has(code) || this.failures.size < MAX_CODES ? code : 'other';
    this.failures.set(known, (this.failures.get(known) ?? 0) + 1);
    this.#second(atMs).failed += 1;
  }

  merge(json: SeriesJson): void {
    this.times.merge(json.times);
    for (const [code, times] of json.failures) this.failures.set(code, (this.failures.get(code) ?? 0) + times);
    for (const [index, times, failed] of json.seconds) {
      const second = this.#second(index * 1000);
      second.times.merge(times);
      second.failed += failed;
    }
  }

  toJSON(): SeriesJson {
    return {
      times: this.times.toJSON(),
      failures: [...this.failures],
      seconds: [...this.seconds].map(([index, { times, failed }]) => [index, times.toJSON(), failed]),
    };
  }

  /** @param elapsedMs duration of the run: `perSec` refers to it. */
  row(name: string, elapsedMs: number): Row {
    return rowOf(name, this.times, { failed: this.failed, elapsedMs });
  }

  #second(atMs: number): Second {
    const index = Math.min(MAX_SECONDS, Math.max(0, Math.floor(atMs / 1000)));
    let second = this.seconds.get(index);
    if (second === undefined) this.seconds.set(index, (second = { times: new Histogram(), failed: 0 }));
    return second;
  }
}

export class Recording {
  readonly #series = new Map<string, Series>();
  readonly counters = new Map<string, number>();
  /** On the clock of `performance.now()`. */
  startedAt = 0;

  series(name: string): Series {
    let series = this.#series.get(name);
    if (series === undefined) this.#series.set(name, (series = new Series()));
    return series;
  }

  get names(): string[] {
    return [...this.#series.keys()];
  }

  count(name: string, by = 1): void {
    this.counters.set(name, (this.counters.get(name) ?? 0) + by);
  }

  /** A call that succeeded, by the clock of `performance.now()`. */
  ok(name: string, since: number, until = performance.now()): void {
    this.series(name).ok(until - since, until - this.startedAt);
  }

  fail(name: string, error: unknown): void {
    this.series(name).fail(failureCode(error), performance.now() - this.startedAt);
  }

  /**
   * Runs a call, and counts its time from `since`, its intended start, which may be before it could begin. Errors are
   * counted and rethrown.
   */
  async time<T>(name: string, since: number, call: () => PromiseLike<T>): Promise<T> {
    try {
      const result = await call();
      this.ok(name, since);
      return result;
    } catch (error) {
      this.fail(name, error);
      throw error;
    }
  }

  merge(json: RecordingJson): void {
    for (const [name, series] of json.series) this.series(name).merge(series);
    for (const [name, times] of json.counters) this.count(name, times);
  }

  toJSON(): RecordingJson {
    return {
      series: [...this.#series].map(([name, series]) => [name, series.toJSON()]),
      counters: [...this.counters],
    };
  }
}
