import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FairQueue, type Waiting } from './fair-queue.ts';

const NOBODY: ReadonlySet<string> = new Set();
const waiting = fc.record({
  tenant: fc.constantFrom('red', 'blue', 'green'),
  priority: fc.integer({ min: 0, max: 2 }),
  weight: fc.integer({ min: 1, max: 4 }),
});

test('the position of each is how many go before it', () => {
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
      // In the middle of turns too.
      for (let i = 0; i < Math.min(served, all.length - 1); i++) goNext();
      const said = new Map([...lines.values()].map(({ id }) => [id, lines.position(id)]));
      const order: string[] = [];
      for (let id = goNext(); id !== undefined; id = goNext()) order.push(id);
      expect(order.map((id) => said.get(id))).toEqual(order.map((_, i) => i));
    }),
  );
});

test('a tenant that waits for thousands is one place ahead of another’s first', () => {
  const lines = new FairQueue<Waiting>();
  for (let i = 0; i < 10_000; i++) lines.add({ id: `many-${i}`, tenant: 'many', priority: 0, weight: 1 });
  lines.add({ id: 'one', tenant: 'one', priority: 0, weight: 1 });
  expect([lines.position('many-0'), lines.position('one'), lines.position('many-1')]).toEqual([0, 1, 2]);
  expect(lines.position('many-9999')).toBe(10_000);
});
