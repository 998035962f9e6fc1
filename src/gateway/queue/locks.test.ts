import type { Worker } from 'bullmq';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { silent } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { Locks } from './locks.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('a failed renewal is logged, and its locks hold until they expire', async () => {
  const error = new ServiceError('node_unavailable', 'Redis does not answer');
  const logged: object[] = [];
  const log = { ...silent, warn: (fields: object) => void logged.push(fields) };
  const locks = new Locks({ lockMs: 4_000, log, ask: () => Promise.reject(error) });
  const lock = locks.keep({} as Worker, 'ticket', 'token', performance.now());
  await vi.advanceTimersByTimeAsync(1_500);
  expect(logged).toEqual([{ err: error, locks: 1 }]);
  expect(lock.holds()).toBe(true);
  await vi.advanceTimersByTimeAsync(4_000);
  expect(lock.holds()).toBe(false);
  locks.stop();
});
