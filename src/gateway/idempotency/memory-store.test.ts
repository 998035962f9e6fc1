import { expect, test } from 'vitest';
import { MemoryIdempotencyStore } from './memory-store.ts';

const call = (key: string, request: unknown = {}, scope = 's') => ({ scope, key, request });

test('work runs once per scope and key, at the same time too', async () => {
  const store = new MemoryIdempotencyStore();
  let runs = 0;
  const work = async () => {
    await new Promise((resolve) => setImmediate(resolve));
    return ++runs;
  };
  const all = await Promise.all([1, 2, 3].map(() => store.run(call('k'), work)));
  expect(all).toEqual([1, 1, 1]);
  expect(await store.run(call('k'), work)).toBe(1);
  expect(await store.run(call('k', {}, 'other'), work)).toBe(2);
  await expect(store.run(call('k', { x: 1 }), work)).rejects.toMatchObject({ code: 'idempotency_conflict' });
});

test('work that failed leaves the key free, for those who shared it as well', async () => {
  const store = new MemoryIdempotencyStore();
  const fail = () => Promise.reject(new Error('no'));
  const both = await Promise.allSettled([store.run(call('k'), fail), store.run(call('k'), fail)]);
  expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  expect(await store.run(call('k', { other: true }), () => Promise.resolve('yes'))).toBe('yes');
});

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

test('work under way keeps its key, however many others come', async () => {
  const store = new MemoryIdempotencyStore({ maxKeys: 2 });
  const never = Promise.withResolvers<number>();
  const first = store.run(call('a'), () => never.promise);
  const second = store.run(call('b'), () => never.promise);
  await expect(store.run(call('c'), () => Promise.resolve(0))).rejects.toMatchObject({ code: 'rate_limited' });
  never.resolve(1);
  expect(await Promise.all([first, second])).toEqual([1, 1]);
});
