import { expect, test } from 'vitest';
import { poissonArrivals, Random } from './random.ts';

const N = 50_000;
const draw = (n: number, one: () => number): number[] => Array.from({ length: n }, one);
const mean = (values: readonly number[]): number => values.reduce((sum, v) => sum + v, 0) / values.length;
const deviation = (values: readonly number[]): number => {
  const m = mean(values);
  return Math.sqrt(mean(values.map((v) => (v - m) ** 2)));
};

test('one seed gives one sequence, another seed another', () => {
  const take = (seed: number): number[] => {
    const random = new Random(seed);
    return draw(50, () => random.next());
  };
  expect(take(7)).toEqual(take(7));
  expect(take(7)).not.toEqual(take(8));
});

test('integers below n are uniform, and never reach n', () => {
  const random = new Random(1);
  const counts = new Map<number, number>();
  for (const value of draw(N, () => random.below(10))) counts.set(value, (counts.get(value) ?? 0) + 1);
  expect([...counts.keys()].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  for (const times of counts.values()) expect(times / N).toBeCloseTo(0.1, 1);
});

test('a normal distribution has mean 0 and deviation 1', () => {
  const random = new Random(2);
  const values = draw(N, () => random.normal());
  expect(Math.abs(mean(values))).toBeLessThan(0.03);
  expect(deviation(values)).toBeCloseTo(1, 1);
});

test('a log-normal one has its median in the middle, and is positive', () => {
  const random = new Random(3);
  const values = draw(N, () => random.logNormal(2_000, 0.5)).sort((a, b) => a - b);
  expect((values[N / 2] ?? 0) / 2_000).toBeCloseTo(1, 1);
  expect(values[0]).toBeGreaterThan(0);
  expect(deviation(values.map(Math.log))).toBeCloseTo(0.5, 1);
});

test('Poisson arrivals ascend, keep their rate, and are as irregular as independent callers are', () => {
  const arrivals = [...poissonArrivals(new Random(4), 100, 300_000)];
  expect(arrivals.length / 300).toBeGreaterThan(96);
  expect(arrivals.length / 300).toBeLessThan(104);
  const gaps = arrivals.map((at, i) => at - (arrivals[i - 1] ?? 0));
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(0);
  // In an exponential distribution the standard deviation equals the mean.
  expect(deviation(gaps) / mean(gaps)).toBeCloseTo(1, 1);
  expect(arrivals.at(-1)).toBeLessThan(300_000);
});

test('at rate 0 nobody arrives', () => {
  expect([...poissonArrivals(new Random(5), 0, 1_000)]).toEqual([]);
});
