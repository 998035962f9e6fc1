import { expect, test } from 'vitest';
import { interleave, spread } from './concurrency.ts';

test('interleaved lanes run one at a time, as often as they ask, and no lane always follows the same one', async () => {
  const order: string[] = [];
  const lane = (name: string, every = 1) => ({
    every,
    run: () => {
      order.push(name);
      return Promise.resolve();
    },
  });
  await interleave(6, [lane('a'), lane('b'), lane('c', 3)]);
  expect(order.filter((name) => name === 'a')).toHaveLength(6);
  expect(order.filter((name) => name === 'c')).toHaveLength(2);
  const before = new Set(order.flatMap((name, i) => (name === 'a' && i > 0 ? [order[i - 1]] : [])));
  expect(before.size).toBeGreaterThan(1);
});

test('spread calls each index once and stays within its width', async () => {
  const seen: number[] = [];
  let running = 0;
  let most = 0;
  await spread(50, 7, async (index) => {
    most = Math.max(most, ++running);
    await Promise.resolve();
    seen.push(index);
    running -= 1;
  });
  expect(seen.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i));
  expect(most).toBeLessThanOrEqual(7);
});
