import { expect, test } from 'vitest';
import { ServiceError } from '../../protocol/errors.ts';
import { describeFailure } from './failure.ts';

test.each([
  ['sandboxes', '`millibox rm` makes room'],
  ['execs', 'when one of its commands has ended'],
])('the hint at a full quota of %s is about what fills it', (quota, hint) => {
  expect(describeFailure(new ServiceError('quota_exceeded', 'full', { details: { quota } }))).toContain(hint);
});
