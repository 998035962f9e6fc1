import { expect, test } from 'vitest';
import { MilliboxError } from '../../../src/sdk/index.ts';
import { WrongAnswer } from './failure.ts';
import { Recording } from './recording.ts';

test('failures are counted by code and rethrown; they have no time and lower ok', async () => {
  const recording = new Recording();
  const fail = (error: Error) => recording.time('exec', 0, () => Promise.reject(error));
  await expect(fail(new MilliboxError('node_unavailable'))).rejects.toThrow();
  await expect(fail(new MilliboxError('node_unavailable'))).rejects.toThrow();
  await expect(fail(new WrongAnswer('wrong_exit', '1'))).rejects.toThrow();
  await expect(fail(new TypeError('of ours'))).rejects.toThrow();
  await recording.time('exec', performance.now(), () => Promise.resolve());
  const series = recording.series('exec');
  expect([...series.failures]).toEqual([
    ['node_unavailable', 2],
    ['wrong_exit', 1],
    ['unexpected_TypeError', 1],
  ]);
  expect(series.row('exec', 1000)).toMatchObject({ n: 5, ok: 1, perSec: 1 });
});

test('a time counts from the intended start of the call', async () => {
  const recording = new Recording();
  await recording.time('exec', performance.now() - 5_000, () => Promise.resolve());
  expect(recording.series('exec').times.minMs).toBeGreaterThanOrEqual(5_000);
});

test('a call counts in the second in which it ended', () => {
  const recording = new Recording();
  recording.startedAt = 1_000;
  recording.ok('exec', 1_100, 1_200);
  recording.ok('exec', 1_100, 3_500);
  const { seconds } = recording.series('exec');
  expect([...seconds].map(([second, { times }]) => [second, times.count])).toEqual([
    [0, 1],
    [2, 1],
  ]);
});

test('merging the parts of a run gives the run', () => {
  const [whole, ...parts] = [new Recording(), new Recording(), new Recording()];
  for (let i = 0; i < 100; i++) {
    for (const recording of [whole, parts[i % 2] as Recording]) {
      recording.ok('exec', 0, 40 * i);
      if (i % 10 === 0) recording.series('exec').fail('interrupted', 40 * i);
      recording.count('done');
    }
  }
  const merged = new Recording();
  for (const part of parts) merged.merge(JSON.parse(JSON.stringify(part)));
  expect(merged.series('exec').row('exec', 1)).toEqual(whole.series('exec').row('exec', 1));
  expect(merged.counters).toEqual(whole.counters);
  const failed = (recording: Recording) =>
    [...recording.series('exec').seconds].sort(([a], [b]) => a - b).map(([second, { failed: n }]) => [second, n]);
  expect(failed(merged)).toEqual(failed(whole));
});

test('a run of hours, and failures that are all different, stay within bounds', () => {
  const recording = new Recording();
  for (let i = 0; i < 10_000; i++) recording.series('exec').fail(`code ${i}`, i * 10_000);
  expect(recording.series('exec').seconds.size).toBeLessThan(3_700);
  expect(recording.series('exec').failures.size).toBeLessThan(70);
  expect(recording.series('exec').failed).toBe(10_000);
});
