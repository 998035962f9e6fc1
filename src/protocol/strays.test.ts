import { expect, test } from 'vitest';
import { ServiceError } from './errors.ts';
import { Strays } from './strays.ts';

const taken = new ServiceError('cancelled', 'Another took this exec over.');

test('each call that was cut off before its answer explains one takeover', () => {
  const strays = new Strays();
  expect(strays.explain(taken)).toBe(false);
  strays.unanswered(new ServiceError('interrupted'));
  strays.unanswered(new ServiceError('node_unavailable'));
  expect([strays.explain(taken), strays.explain(taken), strays.explain(taken)]).toEqual([true, true, false]);
});

test('a call that was refused has come to its end, and nothing but a takeover is explained', () => {
  const strays = new Strays();
  strays.unanswered(new ServiceError('sandbox_not_ready'));
  expect(strays.explain(taken)).toBe(false);
  strays.unanswered(new ServiceError('interrupted'));
  expect(strays.explain(new ServiceError('exec_not_found'))).toBe(false);
  expect(strays.explain(taken)).toBe(true);
});
