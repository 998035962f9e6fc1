import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ClaimTimeout } from './claim-timeout.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A claim that takes this long, unless it is aborted. */
const taking =
  (ms: number) =>
  (signal: AbortSignal): Promise<string> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => resolve('claimed'), ms);
      signal.addEventListener('abort', () => {
        clearTimeout(timer);
        reject(signal.reason as Error);
      });
    });
const NEVER = 10_000_000;

async function outcome(timeout: ClaimTimeout, ms: number, signal?: AbortSignal): Promise<string> {
  const claim = timeout.bound(signal, taking(ms)).catch((error: unknown) => (error as { code: string }).code);
  await vi.runAllTimersAsync();
  return await claim;
}

test('an unanswered claim is aborted after a few times the usual claim time, not after the maximum', async () => {
  const timeout = new ClaimTimeout();
  for (let i = 0; i < 20; i += 1) expect(await outcome(timeout, 5)).toBe('claimed');
  const { limitMs } = timeout;
  expect(limitMs).toBeLessThan(5_000);
  const began = Date.now();
  expect(await outcome(timeout, NEVER)).toBe('deadline_exceeded');
  expect(Date.now() - began).toBeLessThanOrEqual(limitMs + 200);
});

test('on a node with slow claims the timeout grows, up to its bound', async () => {
  const timeout = new ClaimTimeout();
  expect(await outcome(timeout, 1_500)).toBe('claimed');
  expect(await outcome(timeout, 6_000)).toBe('claimed');
  expect(await outcome(timeout, 25_000)).toBe('claimed');
  expect(timeout.limitMs).toBe(30_000);
  expect(await outcome(timeout, NEVER)).toBe('deadline_exceeded');
});

test('after a timeout the next claim gets more time, until claims are fast again', async () => {
  const timeout = new ClaimTimeout();
  const { limitMs } = timeout;
  expect(await outcome(timeout, NEVER)).toBe('deadline_exceeded');
  expect(timeout.limitMs).toBeGreaterThan(limitMs * 2);
  for (let i = 0; i < 50; i += 1) await outcome(timeout, 5);
  expect(timeout.limitMs).toBe(limitMs);
});

test('since a timed-out blank may only have been stopped, the next claim gets little more time, but soon all it needs', async () => {
  const timeout = new ClaimTimeout();
  const { limitMs } = timeout;
  expect(await outcome(timeout, NEVER)).toBe('deadline_exceeded');
  expect(timeout.limitMs).toBeLessThanOrEqual(limitMs * 3);
  expect(await outcome(timeout, 8_000)).toBe('deadline_exceeded');
  expect(await outcome(timeout, 8_000)).toBe('claimed');
});

test('concurrent claims allow time for each other', async () => {
  const timeout = new ClaimTimeout();
  const all = Promise.all(Array.from({ length: 200 }, () => timeout.bound(undefined, taking(3_000))));
  await vi.runAllTimersAsync();
  expect(new Set(await all)).toEqual(new Set(['claimed']));
});

test("a claim aborted by its caller ends with the caller's reason", async () => {
  const timeout = new ClaimTimeout();
  const abort = new AbortController();
  setTimeout(() => abort.abort(Object.assign(new Error('ended'), { code: 'sandbox_ended' })), 50);
  expect(await outcome(timeout, NEVER, abort.signal)).toBe('sandbox_ended');
});
