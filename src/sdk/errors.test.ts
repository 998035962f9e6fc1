import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { MilliboxError } from './index.ts';

test('an error prints the name by which it is caught, and nothing of no use to its reader', () => {
  const error = new MilliboxError('sandbox_not_found');
  expect(String(error)).toBe('MilliboxError: there is no sandbox with this id');
  expect(inspect(error)).toMatch(/^MilliboxError: there is no sandbox/);
  expect(inspect(error)).not.toContain('ServiceError');
  expect(error).toBeInstanceOf(MilliboxError);
  expect({ ...error }).not.toBeInstanceOf(MilliboxError);
});
