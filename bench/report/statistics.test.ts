import fc from 'fast-check';
import { expect, test } from 'vitest';
import { percentile, ratio, Samples } from './statistics.ts';

const samples = fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 500 });

test('a percentile is a sample, and at least that share of samples does not exceed it', () => {
  fc.assert(
    fc.property(samples, fc.double({ min: 0.001, max: 1, noNaN: true }), (values, q) => {
      const sorted = values.toSorted((a, b) => a - b);
      const p = percentile(sorted, q);
      expect(sorted).toContain(p);
      expect(sorted.filter((v) => v <= p).length).toBeGreaterThanOrEqual(q * sorted.length);
      // And no smaller sample would do.
      expect(sorted.filter((v) => v < p).length).toBeLessThan(q * sorted.length);
    }),
  );
});

test('percentiles of 1 to 1000 are the textbook ones', () => {
  const sorted = Array.from({ length: 1000 }, (_, i) => i + 1);
  expect([0.5, 0.9, 0.95, 0.99, 0.999, 1].map((q) => percentile(sorted, q))).toEqual([500, 900, 950, 990, 999, 1000]);
});

test('the largest sample is in the row: nothing is trimmed', () => {
  const row = new Samples('x');
  for (let i = 0; i < 100; i++) row.add(1);
  row.add(5000);
  expect(row.row()).toMatchObject({ n: 101, ok: 101, p50Ms: 1, maxMs: 5000 });
});

test('a failed call counts as attempted but not as succeeded, and has no time', async () => {
  const row = new Samples('x');
  await row.time(() => Promise.resolve());
  await row.time(() => Promise.reject(new Error('no')));
  expect(row.row()).toMatchObject({ n: 2, ok: 1 });
  expect([...row.errors]).toEqual([['no', 1]]);
});

test('perSec of overlapping calls refers to the elapsed time', () => {
  const row = new Samples('x');
  for (let i = 0; i < 10; i++) row.add(1000);
  expect(row.row().perSec).toBe(1);
  expect(row.row(1000).perSec).toBe(10);
});

test('a ratio with an unmeasured side is null', () => {
  expect(ratio(1, 2)).toBe(0.5);
  expect(ratio(Number.NaN, 2)).toBeNull();
  expect(ratio(1, 0)).toBeNull();
});
