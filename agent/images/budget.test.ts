import { expect, test } from 'vitest';
import { beyondBudget } from './budget.ts';

const image = (
  id: string,
  sizeBytes: number,
  usedAtMs: number,
): { id: string; sizeBytes: number; usedAtMs: number } => {
  return { id, sizeBytes, usedAtMs };
};
const IMAGES = [image('old', 10, 1), image('older', 10, 0), image('new', 10, 2)];

test('nothing is evicted while everything fits', () => {
  expect(beyondBudget(IMAGES, 30, () => false)).toEqual([]);
});

test('the least recently used image is evicted first, and no more than needed', () => {
  expect(beyondBudget(IMAGES, 20, () => false)).toEqual(['older']);
  expect(beyondBudget(IMAGES, 15, () => false)).toEqual(['older', 'old']);
});

test('images in use are kept, even over budget', () => {
  expect(beyondBudget(IMAGES, 0, ({ id }) => id !== 'old')).toEqual(['old']);
});
