import { expect, test } from 'vitest';
import { checkLength } from './parts.ts';

test('a home below which no socket could be made is refused, with how long it may be', () => {
  expect(() => checkLength('/var/lib/millibox', 9)).not.toThrow();
  expect(() => checkLength(`/${'h'.repeat(50)}`, 1)).not.toThrow();
  expect(() => checkLength(`/${'h'.repeat(51)}`, 1)).toThrow(/may have at most 51 bytes; choose another/);
  expect(() => checkLength(`/${'ü'.repeat(26)}`, 1)).toThrow(/may have at most 51 bytes/);
});
