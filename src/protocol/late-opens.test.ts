import { expect, test } from 'vitest';
import { ServiceError, type ErrorCode } from './errors.ts';
import { LateOpens } from './late-opens.ts';

/** A call that ends with this before it is answered. */
function unanswered(lateOpens: LateOpens, code: ErrorCode): boolean {
  lateOpens.asked();
  return lateOpens.ended(new ServiceError(code));
}

/** A call that is answered, and then ends with this. */
function answered(lateOpens: LateOpens, code: ErrorCode): boolean {
  lateOpens.asked();
  lateOpens.answered();
  return lateOpens.ended(new ServiceError(code));
}

test('each call that was cut off before its answer explains one takeover', () => {
  const lateOpens = new LateOpens();
  expect(answered(lateOpens, 'cancelled')).toBe(false);
  unanswered(lateOpens, 'interrupted');
  unanswered(lateOpens, 'node_unavailable');
  const taken = [1, 2, 3].map(() => answered(lateOpens, 'cancelled'));
  expect(taken).toEqual([true, true, false]);
});

test('a call that was answered or refused never arrives late, and only takeovers are explained', () => {
  const lateOpens = new LateOpens();
  answered(lateOpens, 'interrupted');
  unanswered(lateOpens, 'sandbox_not_ready');
  expect(answered(lateOpens, 'cancelled')).toBe(false);
  unanswered(lateOpens, 'interrupted');
  expect(answered(lateOpens, 'exec_not_found')).toBe(false);
  expect(answered(lateOpens, 'cancelled')).toBe(true);
});
