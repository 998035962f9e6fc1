import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { silent, type Logger } from '../../src/lib/logger.ts';
import { Alarms } from './alarms.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const DAY = 24 * 3_600_000;

test('an alarm beyond the range of a timer still rings on time', () => {
  const alarms = new Alarms(silent);
  const ring = vi.fn();
  alarms.set('far', 60 * DAY, ring);
  vi.advanceTimersByTime(59 * DAY);
  expect(ring).not.toHaveBeenCalled();
  vi.advanceTimersByTime(DAY + 1);
  expect(ring).toHaveBeenCalledTimes(1);
  expect(vi.getTimerCount()).toBe(0);
});

test('a new alarm replaces the previous one of the same name', () => {
  const alarms = new Alarms(silent);
  const first = vi.fn();
  const second = vi.fn();
  alarms.set('a', 10, first);
  alarms.set('a', 20, second);
  vi.advanceTimersByTime(100);
  expect([first.mock.calls.length, second.mock.calls.length]).toEqual([0, 1]);
});

test('an alarm in the past rings at once, and none rings after close', () => {
  const alarms = new Alarms(silent);
  const past = vi.fn();
  const closed = vi.fn();
  alarms.set('past', -5, past);
  alarms.set('closed', 5, closed);
  vi.advanceTimersByTime(1);
  alarms.close();
  vi.advanceTimersByTime(100);
  expect([past.mock.calls.length, closed.mock.calls.length]).toEqual([1, 0]);
});

test('an alarm that throws is logged, and the others still ring', () => {
  const logged: object[] = [];
  const log: Logger = { ...silent, error: (fields) => logged.push(fields) };
  const alarms = new Alarms(log);
  const error = new Error('no');
  const later = vi.fn();
  alarms.set('bad', 1, () => {
    throw error;
  });
  alarms.set('good', 2, later);
  vi.advanceTimersByTime(10);
  expect(logged).toEqual([{ err: error, alarm: 'bad' }]);
  expect(later).toHaveBeenCalledTimes(1);
});
