import { expect, test } from 'vitest';
import { hasInOrder } from './tool-output.ts';

const found = (output: string): boolean => hasInOrder(output, /\bblob\b/i, /\b(404|not found)/i);

test('two texts count if one line has them, in this order', () => {
  expect(found('x\nreading Blob sha256:1: status 404 (Not Found)\ny')).toBe(true);
  expect(found('status 404: no blob')).toBe(false);
  expect(found('reading blob\nstatus 404')).toBe(false);
  expect(found('')).toBe(false);
});

test('what an output repeats does not multiply the time that it takes', () => {
  const output = 'blob '.repeat(13_000);
  const began = performance.now();
  for (let i = 0; i < 10; i++) expect(found(output)).toBe(false);
  const short = performance.now() - began;
  // The square of ten would be a hundred.
  const long = 'blob '.repeat(130_000);
  const beganLong = performance.now();
  for (let i = 0; i < 10; i++) expect(found(long)).toBe(false);
  expect(performance.now() - beganLong).toBeLessThan(40 * Math.max(short, 5));
});
