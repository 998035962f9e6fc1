/** The rules that every implementation of `IdempotencyStore` obeys. A test file calls this with its own subject. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { IdempotencyStore } from './store.ts';

export interface IdempotencySubject {
  name: string;
  /** A store with keys of its own, and that of another gateway: null where there can be only one. */
  open(options: { ttlMs?: number }): Promise<{
    store: IdempotencyStore;
    other: IdempotencyStore | null;
    close(): Promise<void>;
  }>;
}

const call = (key: string, request: unknown = {}, scope = 's') => ({ scope, key, request });

export function idempotencyContract(subject: IdempotencySubject): void {
  describe(`idempotency keys: ${subject.name}`, () => {
    let opened: Awaited<ReturnType<IdempotencySubject['open']>>;
    let store: IdempotencyStore;
    beforeEach(async () => {
      opened = await subject.open({});
      store = opened.store;
    });
    afterEach(() => opened.close());

    test('work runs once per scope and key, even concurrently', async () => {
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

    test('requests are equal whatever the order of their members', async () => {
      const work = () => Promise.resolve(++runs);
      let runs = 0;
      expect(await store.run(call('order', { env: { A: '1', B: '2' }, argv: ['x', 'y'] }), work)).toBe(1);
      expect(await store.run(call('order', { argv: ['x', 'y'], env: { B: '2', A: '1' } }), work)).toBe(1);
      const swapped = store.run(call('order', { env: { A: '1', B: '2' }, argv: ['y', 'x'] }), work);
      await expect(swapped).rejects.toMatchObject({ code: 'idempotency_conflict' });
    });

    test('a key used by a gateway of another version stands, whatever the request was', async () => {
      const { other } = opened;
      if (other === null) return;
      const ask = (on: IdempotencyStore, form: string, request: unknown, answer: string) =>
        on.run({ ...call('forms', request), form }, () => Promise.resolve(answer));
      expect(await ask(store, 'older', { a: 1 }, 'first')).toBe('first');
      // A request of another form cannot be compared; one of the same form can.
      expect(await ask(other, 'newer', { a: 1, b: 'a default' }, 'second')).toBe('first');
      await expect(ask(other, 'older', { a: 2 }, 'third')).rejects.toMatchObject({ code: 'idempotency_conflict' });
      expect(await ask(store, 'older', { a: 1 }, 'fourth')).toBe('first');
    });

    test('work that failed leaves the key free, also for callers who shared it', async () => {
      const fail = () => Promise.reject(new Error('no'));
      const both = await Promise.allSettled([store.run(call('k'), fail), store.run(call('k'), fail)]);
      expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
      expect(await store.run(call('k', { other: true }), () => Promise.resolve('yes'))).toBe('yes');
    });

    test("each key's work has its own seed, and a new one after it failed", async () => {
      const seeds: string[] = [];
      const fail = (seed: string) => {
        seeds.push(seed);
        return Promise.reject(new Error('no'));
      };
      const work = (seed: string) => Promise.resolve(seeds.push(seed));
      await store.run(call('a'), fail).catch(() => undefined);
      await store.run(call('a'), work);
      await store.run(call('b'), work);
      expect(new Set(seeds).size).toBe(3);
    });

    test('keys expire', async () => {
      const brief = await subject.open({ ttlMs: 50 });
      try {
        let runs = 0;
        const work = () => Promise.resolve(++runs);
        await brief.store.run(call('a'), work);
        await expect.poll(() => brief.store.run(call('a'), work), { timeout: 20_000 }).toBe(2);
      } finally {
        await brief.close();
      }
    });

    test('answers are returned unchanged, whatever JSON they are', async () => {
      for (const answer of [['a', 'ü'], { a: [1, null] }, 'text', 0, null]) {
        const key = JSON.stringify(answer);
        expect(await store.run(call(key), () => Promise.resolve(answer))).toEqual(answer);
        expect(await store.run(call(key), () => Promise.resolve('other'))).toEqual(answer);
      }
    });

    test('gateways share work, answers and conflicts', async ({ skip }) => {
      const { other } = opened;
      if (other === null) return skip('there is but one gateway');
      let runs = 0;
      const begun = Promise.withResolvers<void>();
      const end = Promise.withResolvers<void>();
      const first = store.run(call('k'), async () => {
        begun.resolve();
        await end.promise;
        return ++runs;
      });
      await begun.promise;
      const second = other.run(call('k'), () => Promise.resolve(++runs));
      await expect(other.run(call('k', { x: 1 }), () => Promise.resolve(0))).rejects.toMatchObject({
        code: 'idempotency_conflict',
      });
      end.resolve();
      expect(await Promise.all([first, second])).toEqual([1, 1]);
    });
  });
}
