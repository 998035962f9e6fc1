import { expect, onTestFinished, test, vi } from 'vitest';
import { silent } from '../../lib/logger.ts';
import { unavailable, type RedisLink } from '../redis/link.ts';
import { RedisIdempotencyStore } from './redis-store.ts';

/** A store whose scripts get this answer from Redis. */
function store(answer: () => Promise<unknown>) {
  const run = vi.fn(answer);
  const link = { up: true, run } as unknown as RedisLink;
  const store = new RedisIdempotencyStore({ link, secret: 'secret', log: silent });
  onTestFinished(() => store.stop());
  return { store, run };
}

const call = { scope: 'scope', key: 'key', request: {} };

test("a call whose caller has left stops asking for another gateway's answer", async () => {
  const { store: waiting, run } = store(() => Promise.resolve(['wait']));
  const caller = new AbortController();
  const waits = waiting.run(call, () => expect.unreachable(), caller.signal);
  const joined = waiting.run(call, () => expect.unreachable(), caller.signal);
  await vi.waitFor(() => expect(run.mock.calls.length).toBeGreaterThan(1));
  caller.abort(new Error('left'));
  await expect(waits).rejects.toThrow('left');
  await expect(joined).rejects.toThrow('left');
  const asked = run.mock.calls.length;
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(run).toHaveBeenCalledTimes(asked);
});

test('only a Redis that gives no answer is done without', async () => {
  const { store: away } = store(() => Promise.reject(unavailable()));
  expect(await away.run(call, (_seed, isUnchecked) => Promise.resolve(isUnchecked))).toBe(true);
  const { store: faulty } = store(() => Promise.reject(new TypeError('fault')));
  await expect(faulty.run(call, () => expect.unreachable())).rejects.toThrow('fault');
});
