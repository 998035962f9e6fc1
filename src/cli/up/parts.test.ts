import { expect, test } from 'vitest';
import { checkLength } from './parts.ts';

test('a home whose sockets would have too long a path is refused, with the maximum length', () => {
  expect(() => checkLength('/var/lib/millibox', 9)).not.toThrow();
  expect(() => checkLength(`/${'h'.repeat(50)}`, 1)).not.toThrow();
  expect(() => checkLength(`/${'h'.repeat(51)}`, 1)).toThrow(/may have at most 51 bytes; choose another/);
  expect(() => checkLength(`/${'ü'.repeat(26)}`, 1)).toThrow(/may have at most 51 bytes/);
});
