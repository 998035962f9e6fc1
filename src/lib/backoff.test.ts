import { expect, test } from 'vitest';
import { backoffMs, jitteredBackoffMs } from './backoff.ts';

const backoff = { firstMs: 50, maxMs: 1_000 };

test('a pause doubles with each failure, up to its limit, and stays there', () => {
  expect([0, 1, 2, 3, 5, 6, 1_000_000].map((failures) => backoffMs(backoff, failures))).toEqual([
    50, 50, 100, 200, 800, 1_000, 1_000,
  ]);
});

test('half of a jittered pause is random', () => {
  for (let i = 0; i < 100; i++) {
    const pause = jitteredBackoffMs(backoff, 3);
    expect(pause).toBeGreaterThanOrEqual(100);
    expect(pause).toBeLessThanOrEqual(200);
  }
});
