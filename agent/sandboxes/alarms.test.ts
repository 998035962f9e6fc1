import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Alarms } from './alarms.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const DAY = 24 * 3_600_000;

test('an alarm farther away than a timer reaches rings at its time', () => {
  const alarms = new Alarms();
  const ring = vi.fn();
  alarms.set('far', 60 * DAY, ring);
  vi.advanceTimersByTime(59 * DAY);
  expect(ring).not.toHaveBeenCalled();
  vi.advanceTimersByTime(DAY + 1);
  expect(ring).toHaveBeenCalledTimes(1);
  expect(vi.getTimerCount()).toBe(0);
});

test('a later alarm of the same name replaces the earlier one', () => {
  const alarms = new Alarms();
  const first = vi.fn();
  const second = vi.fn();
  alarms.set('a', 10, first);
  alarms.set('a', 20, second);
  vi.advanceTimersByTime(100);
  expect([first.mock.calls.length, second.mock.calls.length]).toEqual([0, 1]);
});

test('a time that has passed rings at once, and nothing rings after close', () => {
  const alarms = new Alarms();
  const past = vi.fn();
  const closed = vi.fn();
  alarms.set('past', -5, past);
  alarms.set('closed', 5, closed);
  vi.advanceTimersByTime(1);
  alarms.close();
  vi.advanceTimersByTime(100);
  expect([past.mock.calls.length, closed.mock.calls.length]).toEqual([1, 0]);
});
