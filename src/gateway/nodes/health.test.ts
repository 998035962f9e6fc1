import { expect, test } from 'vitest';
import { Health } from './health.ts';

test('failures in a row eject a node, for longer each time; a success forgives all', () => {
  let now = 0;
  const health = new Health(() => now);
  for (let i = 0; i < 4; i++) expect(health.failed()).toBe(false);
  health.ok();
  for (let i = 0; i < 4; i++) expect(health.failed()).toBe(false);
  expect(health.ejected).toBe(false);
  expect(health.failed()).toBe(true);
  const first = health.ejectedMs;
  expect(first).toBeGreaterThan(0);
  now += first;
  expect(health.ejected).toBe(false);
  // On trial: one failure is enough.
  expect(health.failed()).toBe(true);
  expect(health.ejectedMs).toBeGreaterThan(first);
  for (let i = 0; i < 100; i++) {
    now += health.ejectedMs;
    health.failed();
  }
  expect(health.ejectedMs).toBeLessThanOrEqual(300_000);
  health.ok();
  expect(health.ejected).toBe(false);
});
