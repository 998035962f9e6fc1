import { expect, test } from 'vitest';
import { Demand } from './demand.ts';

const bounds = { floor: 2, ceiling: 50 };

test('without claims the target is the floor', () => {
  expect(new Demand(bounds).target(1_000)).toBe(2);
});

test('the target grows with claim rate times start time', () => {
  const slow = new Demand(bounds);
  const quick = new Demand(bounds);
  slow.launched(2_000);
  quick.launched(50);
  for (let at = 0; at < 60_000; at += 200) {
    slow.claimed(at);
    quick.claimed(at);
  }
  // 5 a second: 10 during one 2 s start, doubled; hardly any during a 50 ms one.
  expect(slow.target(60_000)).toBeGreaterThanOrEqual(18);
  expect(slow.target(60_000)).toBeLessThanOrEqual(22);
  expect(quick.target(60_000)).toBe(2);
});

test('the target stays within its bounds', () => {
  const demand = new Demand(bounds);
  demand.launched(10_000);
  for (let at = 0; at < 10_000; at += 5) demand.claimed(at);
  expect(demand.target(10_000)).toBe(50);
});

test('without further claims the target falls back to the floor', () => {
  const demand = new Demand(bounds);
  demand.launched(2_000);
  for (let at = 0; at < 60_000; at += 100) demand.claimed(at);
  expect(demand.target(180_000)).toBe(2);
});

test('a single claim of an image without a floor keeps nothing warm for it', () => {
  const demand = new Demand({ floor: 0, ceiling: 50 });
  demand.launched(1_000);
  demand.claimed(0);
  expect(demand.target(1)).toBe(0);
});
