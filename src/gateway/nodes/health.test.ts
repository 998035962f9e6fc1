import { expect, test } from 'vitest';
import { Health } from './health.ts';

test('consecutive failures eject a node, for longer each time; a success resets that', () => {
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

test('an ejected node comes back with one sandbox at a time until one has started', () => {
  let now = 0;
  const health = new Health(() => now);
  for (let i = 0; i < 5; i++) health.failed();
  now += health.ejectedMs;
  expect(health.ejected).toBe(false);
  health.sent();
  expect(health.ejected).toBe(true);
  // No room there: the next one is the trial.
  health.unsettled();
  expect(health.ejected).toBe(false);
  health.sent();
  // No outcome is reported: after a while another sandbox is sent.
  now += health.ejectedMs;
  expect(health.ejected).toBe(false);
  health.sent();
  health.ok();
  for (let i = 0; i < 100; i++) health.sent();
  expect(health.ejected).toBe(false);
});

test('a failure of a sandbox sent before the ejection does not prolong it', () => {
  let now = 0;
  const health = new Health(() => now);
  for (let i = 0; i < 5; i++) health.failed();
  const first = health.ejectedMs;
  for (let i = 0; i < 20; i++) expect(health.failed()).toBe(false);
  expect(health.ejectedMs).toBe(first);
  now += first - 1;
  expect(health.ejected).toBe(true);
});
