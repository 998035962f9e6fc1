import { expect, test } from 'vitest';
import { Capacity } from './capacity.ts';

test('room is told of once after one was turned down, and not where nobody was', () => {
  let told = 0;
  const capacity = new Capacity({ maxSandboxes: 1, memoryOvercommit: 50, minFreeMemoryMb: 0 }, () => (told += 1));
  capacity.reserve(1);
  capacity.release(1);
  expect(told).toBe(0);
  capacity.reserve(1);
  for (let i = 0; i < 3; i++) expect(() => capacity.reserve(1)).toThrow('the node holds 1 sandboxes');
  expect(told).toBe(0);
  capacity.release(1);
  expect(told).toBe(1);
  capacity.reserve(1);
  capacity.release(1);
  expect(told).toBe(1);
});
