import { expect, test } from 'vitest';
import type { Candidate } from './placement.ts';
import { tooLarge } from './too-large.ts';

const node = (cpus: number, memoryMb: number, more: { diskMb?: number; maxSandboxes?: number } = {}): Candidate => ({
  ready: true,
  full: false,
  ejected: false,
  report: { cpus, memoryMb, memoryFreeMb: memoryMb, maxSandboxes: 10, ...more },
  live: 0,
  liveCpus: 0,
  warmFor: () => 0,
  hasImage: () => false,
});

test('the refusal names each limit that no node reaches, with the most that one has', () => {
  const nodes = [node(2, 8_000, { diskMb: 500 }), node(4, 1_000, { diskMb: 900 })];
  const { message, details } = tooLarge(nodes, { image: 'a', cpus: 8, memoryMb: 2_000, diskMb: 1_000 });
  expect(message).toMatch(/: cpus is 8, and the most that a node has is 4; diskMb is 1000, .* is 900$/);
  expect(details).toEqual({ cpus: 4, memoryMb: 8_000, diskMb: 900 });
});

test('limits that only different nodes reach are said to fit no single one', () => {
  const { message, details } = tooLarge([node(2, 8_000), node(4, 1_000)], { image: 'a', cpus: 4, memoryMb: 8_000 });
  expect(message).toMatch(/no single node has all/);
  expect(details).toEqual({ cpus: 4, memoryMb: 8_000 });
});

test('a disk that a node does not limit is not given a limit', () => {
  expect(tooLarge([node(2, 100)], { image: 'a', cpus: 3, memoryMb: 100, diskMb: 5 }).details).toEqual({
    cpus: 2,
    memoryMb: 100,
  });
});

test('nodes that take no sandboxes are said to take none', () => {
  const none = [node(2, 100, { maxSandboxes: 0 })];
  expect(tooLarge(none, { image: 'a', cpus: 1, memoryMb: 10 }).message).toMatch(/: none takes any$/);
});
