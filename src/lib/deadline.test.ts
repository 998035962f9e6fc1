import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Linked, resolvesWithin, sleep } from './deadline.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test.each([2 ** 31, Number.MAX_SAFE_INTEGER, Infinity])(
  'a deadline of %d ms does not pass at once',
  async (deadlineMs) => {
    using linked = new Linked({ deadlineMs });
    let woke = false;
    const stop = new AbortController();
    const asleep = sleep(deadlineMs, stop.signal).then(
      () => (woke = true),
      () => undefined,
    );
    const inTime = resolvesWithin(new Promise<void>((resolve) => setTimeout(resolve, 50_000)), deadlineMs);
    await vi.advanceTimersByTimeAsync(60_000);
    expect({ aborted: linked.signal.aborted, woke, inTime: await inTime }).toEqual({
      aborted: false,
      woke: false,
      inTime: true,
    });
    stop.abort();
    await asleep;
  },
);

test('a deadline ends the call under its name, and is cleaned up with it', async () => {
  {
    using linked = new Linked({ deadlineMs: 20, what: 'the work' });
    await vi.advanceTimersByTimeAsync(20);
    expect(linked.signal.reason).toMatchObject({ code: 'deadline_exceeded' });
    expect(String(linked.signal.reason)).toContain('the work did not end within 20 ms');
  }
  using _ = new Linked({ deadlineMs: 1_000 });
  _[Symbol.dispose]();
  expect(vi.getTimerCount()).toBe(0);
});
