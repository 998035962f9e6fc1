import { expect, test } from 'vitest';
import { openLoop, sleepUntil } from './pacing.ts';

test('calls begin at their times while no earlier one has ended', async () => {
  const all = Promise.withResolvers<void>();
  const startedAt = performance.now();
  const begun: number[] = [];
  await openLoop({
    arrivals: [0, 5, 10, 15],
    startedAt,
    maxUnderWay: 100,
    call: async (intendedAt) => {
      begun.push(intendedAt - startedAt);
      expect(performance.now()).toBeGreaterThanOrEqual(intendedAt);
      // If the loop waited for answers, the fourth would never begin.
      if (begun.length === 4) all.resolve();
      await all.promise;
    },
  });
  expect(begun.map(Math.round)).toEqual([0, 5, 10, 15]);
});

test('while the service stalls, the wait of every intended call is counted, not only of one', async () => {
  const STALL_MS = 120;
  const startedAt = performance.now();
  const resumed = sleepUntil(startedAt + STALL_MS);
  const times: number[] = [];
  await openLoop({
    arrivals: Array.from({ length: 10 }, (_, i) => i * 10),
    startedAt,
    // Only one call fits: the others cannot even be sent during the stall.
    maxUnderWay: 1,
    call: async (intendedAt, index) => {
      if (index === 0) await resumed;
      times.push(performance.now() - intendedAt);
    },
  });
  // Intended for 0, 10, … 90 ms and all answered after 120: none of them took less than 30.
  expect(times).toHaveLength(10);
  expect(Math.min(...times)).toBeGreaterThanOrEqual(STALL_MS - 90);
});

test('no more calls are in flight than allowed', async () => {
  let running = 0;
  let most = 0;
  let calls = 0;
  await openLoop({
    arrivals: Array.from({ length: 200 }, () => 0),
    startedAt: performance.now(),
    maxUnderWay: 7,
    call: async () => {
      most = Math.max(most, ++running);
      calls += 1;
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
    },
  });
  expect(calls).toBe(200);
  expect(most).toBe(7);
});

test('a sleep never ends early', async () => {
  for (let i = 0; i < 20; i++) {
    const at = performance.now() + 0.4 * i;
    await sleepUntil(at);
    expect(performance.now()).toBeGreaterThanOrEqual(at);
  }
});
