import { afterEach, expect, test } from 'vitest';
import { MemoryQueue } from './memory-queue.ts';
import type { Outcome, Ticket } from './queue.ts';

const ticket = (tenant: string, id: string, priority = 0, weight = 1): Ticket => ({
  spec: { tenant, id } as Ticket['spec'],
  priority,
  weight,
});

let queue: MemoryQueue;
afterEach(() => queue.stop());

/** A queue whose offers succeed while there is room. */
function withRoom(max = 1000): {
  placed: string[];
  room: (count: number) => Promise<void>;
  outcome: { next: Outcome };
} {
  queue = new MemoryQueue({ max });
  const placed: string[] = [];
  const outcome = { next: 'placed' as Outcome };
  let left = 0;
  queue.start(({ spec }) => {
    if (left <= 0) return null;
    left -= 1;
    const what = outcome.next;
    outcome.next = 'placed';
    if (what === 'placed') placed.push(spec.id);
    return Promise.resolve(what);
  });
  return {
    placed,
    outcome,
    room: async (count) => {
      left = count;
      queue.wake();
      await new Promise((resolve) => setImmediate(resolve));
      left = 0;
    },
  };
}

test('tenants take turns; within a tenant, higher priority goes first, then the oldest', async () => {
  const { placed, room } = withRoom();
  for (const id of ['a1', 'a2', 'a3', 'a4']) queue.add(ticket('a', id));
  for (const id of ['b1', 'b2']) queue.add(ticket('b', id));
  queue.add(ticket('c', 'c1'));
  queue.add(ticket('a', 'a0', 5));
  expect(queue.depth).toBe(8);
  await room(4);
  expect(placed).toEqual(['a0', 'b1', 'c1', 'a1']);
  await room(100);
  expect(placed.slice(4)).toEqual(['b2', 'a2', 'a3', 'a4']);
  expect(queue.depth).toBe(0);
});

test('a tenant of more weight gets more of the room, even when it frees up one place at a time', async () => {
  const { placed, room } = withRoom();
  for (let i = 1; i <= 9; i++) {
    queue.add(ticket('a', `a${i}`, 0, 3));
    queue.add(ticket('b', `b${i}`));
  }
  expect(queue.position('a4')).toBe(4);
  for (let i = 0; i < 8; i++) await room(1);
  expect(placed).toEqual(['a1', 'a2', 'a3', 'b1', 'a4', 'a5', 'a6', 'b2']);
  await room(100);
  expect(placed.slice(8).join(' ')).toBe('a7 a8 a9 b3 b4 b5 b6 b7 b8 b9');
});

test('tickets that come back together go in the order in which they were added', async () => {
  queue = new MemoryQueue({ max: 10 });
  const offered: string[] = [];
  const answers: ((outcome: Outcome) => void)[] = [];
  let room = 0;
  queue.start(({ spec }) => {
    if (room <= 0) return null;
    room -= 1;
    offered.push(spec.id);
    return new Promise((resolve) => answers.push(resolve));
  });
  for (const id of ['a1', 'a2', 'a3', 'a4']) queue.add(ticket('a', id));
  room = 3;
  queue.wake();
  await new Promise((resolve) => setImmediate(resolve));
  for (const answer of answers.splice(0)) answer('later');
  await new Promise((resolve) => setImmediate(resolve));
  expect(['a1', 'a2', 'a3', 'a4'].map((id) => queue.position(id))).toEqual([0, 1, 2, 3]);
  room = 4;
  queue.wake();
  await new Promise((resolve) => setImmediate(resolve));
  expect(offered.slice(3)).toEqual(['a1', 'a2', 'a3', 'a4']);
});

test('a ticket that fits at once never waits, but does not overtake others of its tenant', async () => {
  queue = new MemoryQueue({ max: 10 });
  const offered: string[] = [];
  let full = true;
  queue.start(({ spec }) => {
    if (full) return null;
    offered.push(spec.id);
    return Promise.resolve('placed');
  });
  queue.add(ticket('a', 'a1'));
  full = false;
  queue.add(ticket('b', 'b1'));
  expect(offered).toEqual(['b1']);
  queue.add(ticket('a', 'a2'));
  expect(offered).toEqual(['b1']);
  queue.wake();
  await new Promise((resolve) => setImmediate(resolve));
  expect(offered).toEqual(['b1', 'a1', 'a2']);
});

test('one that a node refused is offered again before younger ones of its tenant', async () => {
  const { placed, room, outcome } = withRoom();
  queue.add(ticket('a', 'a1'));
  queue.add(ticket('a', 'a2'));
  outcome.next = 'later';
  await room(1);
  expect(placed).toEqual([]);
  expect(queue.position('a1')).toBe(0);
  await room(5);
  expect(placed).toEqual(['a1', 'a2']);
});

test('the queue is bounded, and says when to retry', () => {
  withRoom(2);
  queue.add(ticket('a', '1'));
  queue.add(ticket('b', '2'));
  expect(() => queue.add(ticket('c', '3'))).toThrow(
    expect.objectContaining({ code: 'capacity_exhausted', retryAfterMs: 1000 }),
  );
  queue.remove('1');
  queue.add(ticket('c', '3'));
  expect(queue.depth).toBe(2);
});

test('a position counts the tickets that go first', () => {
  withRoom();
  for (const id of ['a1', 'a2', 'a3']) queue.add(ticket('a', id));
  queue.add(ticket('b', 'b1'));
  expect(queue.position('a1')).toBe(0);
  expect(queue.position('a3')).toBe(3);
  expect(queue.position('b1')).toBe(1);
  expect(queue.position('none')).toBeNull();
  queue.remove('a2');
  expect(queue.position('a3')).toBe(2);
});
