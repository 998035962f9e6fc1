import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Histogram } from './histogram.ts';
import { percentile } from './statistics.ts';

const times = fc.array(fc.double({ min: 0, max: 3_600_000, noNaN: true }), { minLength: 1, maxLength: 300 });
const fill = (values: readonly number[]): Histogram => {
  const histogram = new Histogram();
  for (const ms of values) histogram.record(ms);
  return histogram;
};

test('a percentile is never below the sample it represents, and at most 1/256 and a microsecond above it', () => {
  fc.assert(
    fc.property(times, fc.double({ min: 0.001, max: 1, noNaN: true }), (values, q) => {
      const exact = percentile(
        values.toSorted((a, b) => a - b),
        q,
      );
      const found = fill(values).percentile(q);
      expect(found).toBeGreaterThanOrEqual(exact);
      expect(found).toBeLessThanOrEqual(exact * (1 + 1 / 256) + 0.001 * (1 + 1 / 256));
    }),
  );
});

test('count, sum, minimum and maximum are exact, and the maximum is the last percentile', () => {
  fc.assert(
    fc.property(times, (values) => {
      const histogram = fill(values);
      expect(histogram.count).toBe(values.length);
      expect(histogram.minMs).toBe(Math.min(...values));
      expect(histogram.maxMs).toBe(Math.max(...values));
      expect(histogram.percentile(1)).toBe(Math.max(...values));
      expect(histogram.sumMs).toBeCloseTo(
        values.reduce((sum, ms) => sum + ms, 0),
        3,
      );
    }),
  );
});

test('parts of a run, serialised as JSON and merged, give the run', () => {
  fc.assert(
    fc.property(times, times, (first, second) => {
      const merged = Histogram.fromJSON(JSON.parse(JSON.stringify(fill(first))));
      merged.merge(JSON.parse(JSON.stringify(fill(second))));
      merged.merge(JSON.parse(JSON.stringify(new Histogram())));
      const whole = fill([...first, ...second]);
      expect({ ...merged.toJSON(), sumMs: 0 }).toEqual({ ...whole.toJSON(), sumMs: 0 });
      expect(merged.sumMs).toBeCloseTo(whole.sumMs, 3);
    }),
  );
});

test('the curve ascends in time and in count, up to all samples', () => {
  fc.assert(
    fc.property(times, (values) => {
      const curve = fill(values).cumulative();
      expect(curve.at(-1)?.count).toBe(values.length);
      for (let i = 1; i < curve.length; i++) {
        expect(curve[i]?.ms).toBeGreaterThanOrEqual(curve[i - 1]?.ms ?? 0);
        expect(curve[i]?.count).toBeGreaterThan(curve[i - 1]?.count ?? 0);
      }
    }),
  );
});

test('memory is bounded: a bucket holds all similar times, and nothing exceeds the last bucket', () => {
  const histogram = new Histogram();
  for (let i = 0; i < 100_000; i++) histogram.record(1 + (i % 100) * 1e-5);
  for (const ms of [1e7, 1e9, 1e12]) histogram.record(ms);
  expect(histogram.toJSON().parts.length).toBeLessThan(10);
  expect(histogram.count).toBe(100_003);
});

test('of no samples, everything is NaN', () => {
  const none = new Histogram();
  expect([none.percentile(0.5), none.meanMs, none.minMs, none.maxMs]).toEqual([NaN, NaN, NaN, NaN]);
});
