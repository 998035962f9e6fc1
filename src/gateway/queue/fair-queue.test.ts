import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FairQueue, type Waiting } from './fair-queue.ts';

const NOBODY: ReadonlySet<string> = new Set();
const waiting = fc.record({
  tenant: fc.constantFrom('red', 'blue', 'green'),
  priority: fc.integer({ min: 0, max: 2 }),
  weight: fc.integer({ min: 1, max: 4 }),
});

test('the position of an entry is the number of entries that go before it', () => {
  fc.assert(
    fc.property(fc.array(waiting, { minLength: 1, maxLength: 30 }), fc.nat(10), (all, served) => {
      const lines = new FairQueue<Waiting>();
      for (const [i, one] of all.entries()) lines.add({ id: `sbx-${i}`, ...one });
      const goNext = (): string | undefined => {
        const one = lines.next(NOBODY);
        if (one === undefined) return undefined;
        lines.serve(one.id);
        return one.id;
      };
      // In the middle of a turn, too.
      for (let i = 0; i < Math.min(served, all.length - 1); i++) goNext();
      const ask = () => new Map([...lines.values()].map(({ id }) => [id, lines.position(id)]));
      const said = ask();
      // However many have been asked for before.
      for (let i = 0; i < 20; i++) expect(ask()).toEqual(said);
      const order: string[] = [];
      for (let id = goNext(); id !== undefined; id = goNext()) order.push(id);
      expect(order.map((id) => said.get(id))).toEqual(order.map((_, i) => i));
    }),
  );
});

test('an entry that was served and comes back regains its place and its turn', () => {
  fc.assert(
    fc.property(fc.array(waiting, { minLength: 1, maxLength: 30 }), fc.nat(10), fc.nat(3), (all, served, back) => {
      const lines = new FairQueue<Waiting & { age: number }>((a, b) => a.age < b.age);
      for (const [i, one] of all.entries()) lines.add({ id: `sbx-${i}`, age: i, ...one });
      const goNext = () => {
        const one = lines.next(NOBODY);
        if (one !== undefined) lines.serve(one.id);
        return one;
      };
      for (let i = 0; i < Math.min(served, all.length - 1); i++) goNext();
      const positions = () => [...lines.values()].map(({ id }) => [id, lines.position(id)]).toSorted();
      const before = positions();
      const gone = Array.from({ length: Math.min(1 + back, lines.size) }, goNext);
      for (const one of gone.toReversed()) if (one !== undefined) lines.giveBack(one);
      expect(positions()).toEqual(before);
    }),
  );
});

test("a tenant with thousands waiting is only one place ahead of another's first", () => {
  const lines = new FairQueue<Waiting>();
  for (let i = 0; i < 10_000; i++) lines.add({ id: `many-${i}`, tenant: 'many', priority: 0, weight: 1 });
  lines.add({ id: 'one', tenant: 'one', priority: 0, weight: 1 });
  expect([lines.position('many-0'), lines.position('one'), lines.position('many-1')]).toEqual([0, 1, 2]);
  expect(lines.position('many-9999')).toBe(10_000);
});

test('a page of positions in a long queue takes about one look at it', () => {
  let looks = 0;
  const lines = new FairQueue<Waiting>();
  for (let i = 0; i < 10_000; i++) {
    const one = { id: `sbx-${i}`, tenant: 'many', priority: 0 };
    const weight = () => ((looks += 1), 1);
    lines.add(Object.defineProperty(one, 'weight', { get: weight }) as Waiting);
  }
  looks = 0;
  const page = Array.from({ length: 1_000 }, (_, i) => lines.position(`sbx-${9_000 + i}`));
  expect(page).toEqual(page.map((_, i) => 9_000 + i));
  expect(looks).toBeLessThan(20 * lines.size);
  // It is no older than the queue.
  lines.serve('sbx-0');
  expect(lines.position('sbx-9999')).toBe(9_998);
});
