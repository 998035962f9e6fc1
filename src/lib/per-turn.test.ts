import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { PerTurn } from './per-turn.ts';

test('no more than so many begin in a turn of the event loop, in the order in which they came', async () => {
  const turns = new PerTurn(3);
  const begun: number[] = [];
  for (let i = 0; i < 10; i++) void turns.next().then(() => begun.push(i));
  const counts: number[] = [];
  for (let turn = 0; turn < 5; turn++) {
    // Microtasks run before the next turn: whoever was let in has begun by then.
    await Promise.resolve();
    counts.push(begun.length);
    await nextTurn();
  }
  expect(counts).toEqual([3, 6, 9, 10, 10]);
  expect(begun).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test('one that comes alone begins at once, however many came in earlier turns', async () => {
  const turns = new PerTurn(2);
  for (let turn = 0; turn < 5; turn++) {
    expect(turns.now()).toBe(true);
    await nextTurn();
    await nextTurn();
  }
});

test('groups that wait take turns, and what has left the line is not begun', async () => {
  const turns = new PerTurn(2);
  const begun: string[] = [];
  const enter = (group: string, name: string): (() => void) => turns.enter(group, () => begun.push(name));
  for (const name of ['a1', 'a2', 'a3', 'a4', 'a5']) enter('a', name);
  enter('b', 'b1');
  const leave = enter('b', 'b2');
  enter('b', 'b3');
  expect([turns.waiting('a'), turns.waiting('b')]).toEqual([3, 3]);
  leave();
  expect(turns.waiting('b')).toBe(2);
  enter('c', 'c1')();
  for (let turn = 0; turn < 6; turn++) await nextTurn();
  expect(begun).toEqual(['a1', 'a2', 'a3', 'b1', 'a4', 'b3', 'a5']);
  expect([turns.waiting('a'), turns.waiting('b'), turns.waiting('c')]).toEqual([0, 0, 0]);
  leave();
});
