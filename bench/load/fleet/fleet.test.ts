import { expect, test, vi } from 'vitest';
import { calibrate } from '../calibration/calibrate.ts';
import type { Plan } from '../generator/plan.ts';
import { Fleet, sharesOf } from './fleet.ts';

// Processes start slowly on a busy machine.
vi.setConfig({ testTimeout: 120_000 });

const COMMON = { server: { url: 'http://127.0.0.1:1', apiKey: 'k' }, image: 'i', label: 'l', seed: 1 };
const sum = (plans: readonly Plan[], key: string): number =>
  plans.reduce((total, plan) => total + (plan as unknown as Record<string, number>)[key]!, 0);

test('the shares of a plan add up to it, none is empty, and each has its own seed', () => {
  const plans: [Plan, string][] = [
    [{ ...COMMON, workload: 'exec-closed', callers: 7, durationMs: 1 }, 'callers'],
    [{ ...COMMON, workload: 'exec-open', sandboxes: 3, perSec: 10, durationMs: 1 }, 'sandboxes'],
    [{ ...COMMON, workload: 'exec-open', sandboxes: 3, perSec: 10, durationMs: 1 }, 'perSec'],
    [{ ...COMMON, workload: 'creates', perSec: 45, durationMs: 1 }, 'perSec'],
    [{ ...COMMON, workload: 'create-burst', count: 2 }, 'count'],
    [{ ...COMMON, workload: 'rollouts', count: 512, commands: 1, firstTurnMs: 1, turnMs: 1, create: 'ahead' }, 'count'],
  ];
  for (const [plan, key] of plans) {
    for (const size of [1, 2, 3, 5, 8]) {
      const shares = sharesOf(plan, size);
      expect(sum(shares, key)).toBeCloseTo((plan as unknown as Record<string, number>)[key]!, 9);
      for (const share of shares) expect((share as unknown as Record<string, number>)[key]).toBeGreaterThan(0);
      expect(new Set(shares.map(({ seed }) => seed)).size).toBe(shares.length);
    }
  }
});

test('real generators run a plan against a server that does nothing, and report their results', async () => {
  await using fleet = new Fleet(2);
  const { rows, execsPerSec } = await calibrate(fleet, 4, { aloneMs: 200, manyMs: 300 });
  for (const row of rows) {
    expect(row.n).toBeGreaterThan(0);
    expect(row.ok).toBe(row.n);
  }
  expect(execsPerSec).toBeGreaterThan(0);
});

test('if no service answers, each call fails with its code, and the run ends', async () => {
  await using fleet = new Fleet(1);
  const plan: Plan = { ...COMMON, workload: 'create-burst', count: 3 };
  const { recording, usage } = await fleet.run({ ...plan, server: { url: 'http://127.0.0.1:9', apiKey: 'k' } });
  expect([...recording.series('create+exec').failures]).toEqual([['node_unavailable', 3]]);
  expect(usage).toHaveLength(1);
});
