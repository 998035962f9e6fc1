import { expect, test } from 'vitest';
import type { NodeReport } from '../../protocol/node.ts';
import { Node } from './node.ts';

const report: NodeReport = {
  name: 'node-a',
  version: '0',
  runtime: 'fake',
  cpus: 8,
  memoryMb: 16_384,
  memoryFreeMb: 8_192,
  maxSandboxes: 100,
  sandboxes: 1,
  draining: false,
  pools: [{ key: '*', warm: 1, starting: 0, target: 4 }],
  images: ['image'],
  defaultImage: 'image',
};

function upWith(first: NodeReport): Node {
  const node = new Node('ws://node-a', null);
  node.setState('up');
  expect(node.takeReport(first)).toBe(true);
  return node;
}

test('a report that changes only placement preferences wakes no waiting sandbox', () => {
  const node = upWith(report);
  const pools = [{ key: '*', warm: 4, starting: 0, target: 4 }];
  expect(node.takeReport({ ...report, pools, images: ['image', 'other'], memoryFreeMb: 100, sandboxes: 9 })).toBe(
    false,
  );
  expect(node.takeReport({ ...report, maxSandboxes: 50 })).toBe(false);
});

test('a report of more room wakes the queue: more capacity, or an end of what kept sandboxes away', () => {
  const node = upWith(report);
  expect(node.takeReport({ ...report, maxSandboxes: 101 })).toBe(true);
  expect(node.takeReport({ ...report, maxSandboxes: 101, cpus: 16 })).toBe(true);
  for (const away of [{ cordoned: true }, { draining: true }]) {
    expect(node.takeReport({ ...report, ...away })).toBe(false);
    expect(node.takeReport(report)).toBe(true);
  }
  node.refused();
  expect(node.takeReport(report)).toBe(true);
  expect(node.takeReport(report)).toBe(false);
});

test('warm containers are those of the image plus blanks, less those used since the last report', () => {
  const pools = [
    { key: 'python:3.12', warm: 3, starting: 0, target: 3 },
    { key: '*', warm: 2, starting: 0, target: 2 },
  ];
  const node = upWith({ ...report, pools });
  const warm = (): number[] => ['docker.io/library/python:3.12', 'other'].map((image) => node.warmFor(image));
  expect(warm()).toEqual([5, 2]);
  node.reserve('python:3.12');
  expect(warm()).toEqual([4, 2]);
  for (let i = 0; i < 3; i++) node.reserve('other');
  expect(warm()[1]).toBe(0);
  node.takeReport({ ...report, pools });
  expect(warm()).toEqual([5, 2]);
});
