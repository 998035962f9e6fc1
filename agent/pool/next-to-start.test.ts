import { expect, test } from 'vitest';
import { Demand } from './demand.ts';
import { nextToStart } from './next-to-start.ts';
import type { Pool } from './pool.ts';

const CLAIMED_AT_MS = 100_000;
const TARGET = 8;

/** The part of a pool that the choice depends on. */
function pool({ deficit = 0, unserved = 0, waitingSince = Infinity, urgent = false }): Pool {
  const demand = new Demand({ floor: TARGET, ceiling: TARGET });
  const numbers = { deficit: () => deficit, unserved: () => unserved, isUrgent: () => urgent };
  return { demand, ...numbers, waitingSince } as unknown as Pool;
}

/** The choice this long after a claim, on a node that may start eight at once. */
function after(
  sinceClaimMs: number,
  pools: Pool[],
  { starting = 0, refills = true, occupied = false, restMs = 0 } = {},
) {
  const nowMs = CLAIMED_AT_MS + sinceClaimMs;
  const state = { nowMs, claimedAtMs: CLAIMED_AT_MS, restedAtMs: nowMs + restMs };
  return nextToStart(pools, { ...state, starting, atOnce: 8, refills, occupied });
}

test('refills wait while claims arrive, unless more than half of the pool is gone', () => {
  const half = pool({ deficit: 4 });
  const more = pool({ deficit: 5 });
  expect(after(10, [half])).toBe(150);
  expect(after(10, [half, more])).toBe(more);
  expect(after(149, [half])).toBe(150);
  expect(after(150, [half])).toBe(half);
});

test('soon after a claim, refills take a quarter of the starts', () => {
  const lacking = pool({ deficit: 8 });
  expect(after(500, [lacking], { starting: 1 })).toBe(lacking);
  expect(after(500, [lacking], { starting: 2 })).toBeUndefined();
  expect(after(1_999, [lacking], { starting: 2 })).toBeUndefined();
  expect(after(2_000, [lacking], { starting: 7 })).toBe(lacking);
  expect(after(2_000, [lacking], { starting: 8 })).toBeUndefined();
});

test('while there are sandboxes, refills go one at a time, each after a rest', () => {
  const lacking = pool({ deficit: 8 });
  const occupied = true;
  expect(after(5_000, [lacking], { occupied })).toBe(lacking);
  expect(after(5_000, [lacking], { occupied, starting: 1 })).toBeUndefined();
  expect(after(5_000, [lacking], { occupied, restMs: 7 })).toBe(7);
  expect(after(5_000, [lacking], { restMs: 7, starting: 1 })).toBe(lacking);
});

test('but not if claims may empty a pool before it is refilled', () => {
  const urgent = pool({ deficit: 8, urgent: true });
  const busy = { occupied: true, restMs: 7 };
  expect(after(5_000, [urgent], { ...busy, starting: 7 })).toBe(urgent);
  expect(after(500, [urgent], { ...busy, starting: 1 })).toBe(urgent);
  expect(after(500, [urgent], { ...busy, starting: 2 })).toBeUndefined();
});

test('an unserved claim goes before refills, the oldest first, and may use every start', () => {
  const lacking = pool({ deficit: 8 });
  const younger = pool({ deficit: 8, unserved: 3, waitingSince: CLAIMED_AT_MS });
  const older = pool({ unserved: 1, waitingSince: CLAIMED_AT_MS - 1 });
  for (const sinceMs of [0, 10, 2_000]) {
    expect(after(sinceMs, [lacking, younger, older], { starting: 7 })).toBe(older);
    expect(after(sinceMs, [lacking, younger, older], { starting: 7, occupied: true, restMs: 7 })).toBe(older);
    expect(after(sinceMs, [lacking, younger, older], { starting: 8 })).toBeUndefined();
  }
  expect(after(0, [lacking, younger], { starting: 7, refills: false })).toBe(younger);
});

test('the pool with the largest deficit is refilled first, and none on a draining node', () => {
  const less = pool({ deficit: 2 });
  const most = pool({ deficit: 6 });
  expect(after(500, [less, most, pool({ deficit: 3 })])).toBe(most);
  expect(after(500, [less, most], { refills: false })).toBeUndefined();
  expect(after(500, [pool({})])).toBeUndefined();
});
