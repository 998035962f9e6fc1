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

test('nothing goes while all fit', () => {
  expect(beyondBudget(IMAGES, 30, () => false)).toEqual([]);
});

test('the longest unused goes first, and no more than is needed', () => {
  expect(beyondBudget(IMAGES, 20, () => false)).toEqual(['older']);
  expect(beyondBudget(IMAGES, 15, () => false)).toEqual(['older', 'old']);
});

test('images in use stay, even if the budget is exceeded', () => {
  expect(beyondBudget(IMAGES, 0, ({ id }) => id !== 'old')).toEqual(['old']);
});
