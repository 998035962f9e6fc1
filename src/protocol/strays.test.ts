import { expect, test } from 'vitest';
import { ServiceError, type ErrorCode } from './errors.ts';
import { Strays } from './strays.ts';

/** A call that ends with this before it is answered. */
function unanswered(strays: Strays, code: ErrorCode): boolean {
  strays.asked();
  return strays.ended(new ServiceError(code));
}

/** A call that is answered, and then ends with this. */
function answered(strays: Strays, code: ErrorCode): boolean {
  strays.asked();
  strays.answered();
  return strays.ended(new ServiceError(code));
}

test('each call that was cut off before its answer explains one takeover', () => {
  const strays = new Strays();
  expect(answered(strays, 'cancelled')).toBe(false);
  unanswered(strays, 'interrupted');
  unanswered(strays, 'node_unavailable');
  const taken = [1, 2, 3].map(() => answered(strays, 'cancelled'));
  expect(taken).toEqual([true, true, false]);
});

test('a call that was answered or refused is no stray, and only takeovers are explained', () => {
  const strays = new Strays();
  answered(strays, 'interrupted');
  unanswered(strays, 'sandbox_not_ready');
  expect(answered(strays, 'cancelled')).toBe(false);
  unanswered(strays, 'interrupted');
  expect(answered(strays, 'exec_not_found')).toBe(false);
  expect(answered(strays, 'cancelled')).toBe(true);
});
