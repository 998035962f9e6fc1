import { expect, test } from 'vitest';
import { ERRORS, type ErrorCode } from './errors.ts';

/** Those that may come after a call has had its effect. */
const UNSURE: readonly ErrorCode[] = ['deadline_exceeded', 'interrupted', 'cancelled', 'output_lost', 'internal'];

test.each(UNSURE)('%s says nothing of whether the call was carried out, so it asks nobody to repeat it', (code) => {
  expect(ERRORS[code].retryable).toBe(false);
});
