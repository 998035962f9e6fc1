import { expect, test } from 'vitest';
import { idempotencyContract } from './contract.ts';
import { MemoryIdempotencyStore } from './memory-store.ts';

idempotencyContract({
  name: 'memory',
  open: (options) =>
    Promise.resolve({ store: new MemoryIdempotencyStore(options), other: null, close: () => Promise.resolve() }),
});

const call = (key: string) => ({ scope: 's', key, request: {} });

test('keys expire, and their number and size are bounded', async () => {
  let now = 0;
  const store = new MemoryIdempotencyStore({ ttlMs: 100, maxKeys: 3, maxBytes: 10_000, now: () => now });
  let runs = 0;
  const work = () => Promise.resolve(++runs);
  await store.run(call('a'), work);
  now = 101;
  expect(await store.run(call('a'), work)).toBe(2);
  for (const key of ['b', 'c', 'd', 'e']) await store.run(call(key), work);
  expect(await store.run(call('e'), work)).toBe(6);
  expect(await store.run(call('a'), work)).toBe(7);
  await store.run(call('big'), () => Promise.resolve('x'.repeat(20_000)));
  expect(await store.run(call('big'), work)).toBe(8);
});

test('running work keeps its key, however many others come', async () => {
  const store = new MemoryIdempotencyStore({ maxKeys: 2 });
  const never = Promise.withResolvers<number>();
  const first = store.run(call('a'), () => never.promise);
  const second = store.run(call('b'), () => never.promise);
  await expect(store.run(call('c'), () => Promise.resolve(0))).rejects.toMatchObject({ code: 'rate_limited' });
  never.resolve(1);
  expect(await Promise.all([first, second])).toEqual([1, 1]);
});
