import { expect, test } from 'vitest';
import { Capacity } from './capacity.ts';

const SMALL = { memoryMb: 1, diskMb: null };

test('room is reported once after a refusal, and not otherwise', () => {
  let told = 0;
  const capacity = new Capacity({ maxSandboxes: 1, memoryOvercommit: 50, minFreeMemoryMb: 0 }, () => (told += 1));
  capacity.reserve(SMALL);
  capacity.release(1);
  expect(told).toBe(0);
  capacity.reserve(SMALL);
  for (let i = 0; i < 3; i++) expect(() => capacity.reserve(SMALL)).toThrow('the node holds 1 sandboxes');
  expect(told).toBe(0);
  capacity.release(1);
  expect(told).toBe(1);
  capacity.reserve(SMALL);
  capacity.release(1);
  expect(told).toBe(1);
});

test("a disk larger than the node's is refused as an invalid request, not for lack of room", () => {
  const limits = { maxSandboxes: 9, memoryOvercommit: 50, minFreeMemoryMb: 0 };
  const capacity = new Capacity({ ...limits, maxDiskMb: 1_000 });
  capacity.reserve({ memoryMb: 1, diskMb: 1_000 });
  expect(() => capacity.reserve({ memoryMb: 1, diskMb: 1_001 })).toThrow(
    expect.objectContaining({ code: 'invalid_request', message: "diskMb: the node's disk has only 1000 MiB in all" }),
  );
  expect(capacity.sandboxes).toBe(1);
  new Capacity(limits).reserve({ memoryMb: 1, diskMb: 1_001 });
});

test('memory is overcommitted up to a factor of what the machine has', () => {
  let told = 0;
  const limits = { maxSandboxes: 9, memoryOvercommit: 2, minFreeMemoryMb: 0 };
  const capacity = new Capacity(limits, () => (told += 1));
  const half = { memoryMb: capacity.totalMb, diskMb: null };
  capacity.reserve(half);
  capacity.reserve(half);
  expect(() => capacity.reserve(SMALL)).toThrow('all of its memory is committed');
  capacity.release(half.memoryMb);
  expect(told).toBe(1);
  capacity.reserve({ memoryMb: half.memoryMb - 1, diskMb: null });
  capacity.reserve(SMALL);
  expect(capacity.sandboxes).toBe(3);
});

test('nothing is accepted while free memory is below the reserve', () => {
  const limits = { maxSandboxes: 9, memoryOvercommit: 50, minFreeMemoryMb: 0 };
  const roomy = new Capacity(limits);
  expect(roomy.freeMb).toBeGreaterThan(0);
  expect(roomy.freeMb).toBeLessThanOrEqual(roomy.totalMb);
  const full = new Capacity({ ...limits, minFreeMemoryMb: roomy.totalMb + 1 });
  expect(() => full.reserve(SMALL)).toThrow('too little memory is free');
  expect([full.freeMb, full.sandboxes]).toEqual([0, 0]);
});
