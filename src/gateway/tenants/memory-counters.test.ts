import { expect, test } from 'vitest';
import { countersContract } from './counters-contract.ts';
import { MemoryCounters } from './memory-counters.ts';
import { take } from './rate.ts';

countersContract({
  name: 'memory',
  open: () => {
    const counters = new MemoryCounters();
    return Promise.resolve({ counters, other: null, close: () => counters.stop() });
  },
});

test('over time a bucket gives out its burst plus its rate, and not one token more', () => {
  const rate = { perSecond: 10, burst: 5 };
  let fullAtMs = 0;
  let given = 0;
  for (let now = 1_000; now <= 11_000; now += 7) {
    const taken = take(fullAtMs, now, 1, rate);
    if ('waitMs' in taken) continue;
    fullAtMs = taken.fullAtMs;
    given += 1;
  }
  expect(given).toBeGreaterThanOrEqual(104);
  expect(given).toBeLessThanOrEqual(105);
});
