import { expect, test } from 'vitest';
import { ERRORS, type ErrorCode } from './errors.ts';

/** Codes that may be returned after a call has taken effect. */
const UNSURE: readonly ErrorCode[] = ['deadline_exceeded', 'interrupted', 'cancelled', 'output_lost', 'internal'];

test.each(UNSURE)('%s leaves open whether the call was carried out, so it is not retryable', (code) => {
  expect(ERRORS[code].retryable).toBe(false);
});
