import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { couldFit, haveRoom, pick, type Candidate } from './placement.ts';

interface Shape {
  ready?: boolean;
  full?: boolean;
  ejected?: boolean;
  cpus?: number;
  memoryMb?: number;
  memoryFreeMb?: number;
  diskMb?: number;
  max?: number;
  live?: number;
  warm?: number;
  image?: boolean;
}

function node({
  ready = true,
  full = false,
  ejected = false,
  cpus = 8,
  memoryMb = 8000,
  memoryFreeMb = 8000,
  diskMb,
  max = 100,
  live = 0,
  warm = 0,
  image = false,
}: Shape = {}): Candidate {
  return {
    ready,
    full,
    ejected,
    report: { cpus, memoryMb, memoryFreeMb, diskMb, maxSandboxes: max },
    live,
    liveCpus: live,
    warmFor: () => warm,
    hasImage: () => image,
  };
}

const NEED = { image: 'i', cpus: 1, memoryMb: 512 };

test('a warm container beats an image on disk, which beats an emptier node', () => {
  const warm = node({ warm: 1, live: 90, memoryFreeMb: 100 });
  const image = node({ image: true, live: 50 });
  const empty = node();
  expect(pick([empty, image, warm], NEED)).toBe(warm);
  expect(pick([empty, image], NEED)).toBe(image);
  expect(pick([node({ live: 50, memoryFreeMb: 10 }), empty], NEED)).toBe(empty);
});

test('there is room for several when each fits somewhere and there are enough places', () => {
  const nodes = [node({ max: 5, live: 4 }), node({ max: 2, live: 1 }), node({ full: true }), node({ ready: false })];
  expect([1, 2, 3].map((count) => haveRoom(nodes, new Array(count).fill(NEED)))).toEqual([true, true, false]);
  expect(haveRoom(nodes, [NEED, { ...NEED, cpus: 9 }])).toBe(false);
  expect(haveRoom([], [NEED])).toBe(false);
});

test('nodes that are full, too small, unknown, excluded or not accepting are left out', () => {
  const no = [
    node({ ready: false }),
    node({ full: true }),
    node({ max: 5, live: 5 }),
    node({ cpus: 0.5 }),
    node({ memoryMb: 100 }),
    { ...node(), report: null },
  ];
  expect(pick(no, NEED)).toBeNull();
  const good = node();
  expect(pick([...no, good], NEED)).toBe(good);
  expect(pick([...no, good], NEED, { exclude: new Set([good]) })).toBeNull();
  expect(couldFit(node({ max: 0 }), NEED)).toBe(false);
});

test('an ejected node is avoided while any other is ready, even a full one', () => {
  const ejected = node({ ejected: true, warm: 10 });
  const good = node();
  expect(pick([ejected, good], NEED)).toBe(good);
  expect(pick([ejected, node({ full: true })], NEED)).toBeNull();
  expect(pick([ejected, node({ ready: false })], NEED)).toBe(ejected);
});

test('never picks a node without room, and always finds one if there is one', () => {
  const shape = fc.record({
    ready: fc.boolean(),
    full: fc.boolean(),
    max: fc.integer({ min: 0, max: 3 }),
    live: fc.integer({ min: 0, max: 3 }),
    cpus: fc.constantFrom(0.5, 1, 4),
    warm: fc.integer({ min: 0, max: 2 }),
    image: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.array(shape, { maxLength: 40 }),
      fc.infiniteStream(fc.double({ min: 0, max: 0.999, noNaN: true })),
      (shapes, stream) => {
        const nodes = shapes.map(node);
        const picked = pick(nodes, NEED, { random: () => stream.next().value });
        const fits = (n: Candidate): boolean =>
          n.ready && !n.full && n.live < (n.report?.maxSandboxes ?? 0) && (n.report?.cpus ?? 0) >= 1;
        if (picked === null) expect(nodes.some(fits)).toBe(false);
        else expect(fits(picked)).toBe(true);
      },
    ),
  );
});

test('the one node with room is found among thousands of full ones, whatever the sample shows', () => {
  const full = Array.from({ length: 5_000 }, () => node({ max: 5, live: 5 }));
  for (const at of [0, 1, 2_500, 4_999]) {
    const nodes = full.with(at, node({ max: 5, live: 4 }));
    for (let i = 0; i < 20; i++) expect(pick(nodes, NEED)).toBe(nodes[at]);
  }
  expect(pick(full, NEED)).toBeNull();
  const ejected = full.with(2_500, node({ ejected: true }));
  // Full nodes may have room again soon: better to wait for them.
  expect(pick(ejected, NEED)).toBeNull();
});

test('a disk goes to a node that can hold it, or that reports no limit on disks', () => {
  const [small, large, silent] = [node({ diskMb: 1_000 }), node({ diskMb: 9_000 }), node()];
  const need = { ...NEED, diskMb: 1_001 };
  expect(pick([small, large], need)).toBe(large);
  expect(pick([small, silent], need)).toBe(silent);
  expect(couldFit(small, need)).toBe(false);
  expect(couldFit(small, { ...NEED, diskMb: 1_000 })).toBe(true);
  expect(couldFit(small, { ...NEED, diskMb: null })).toBe(true);
});
