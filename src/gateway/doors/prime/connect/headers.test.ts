import type { IncomingHttpHeaders } from 'node:http';
import { expect, test } from 'vitest';
import { relaxHeaders } from './headers.ts';

const relaxed = (headers: IncomingHttpHeaders): IncomingHttpHeaders => {
  relaxHeaders(headers);
  return headers;
};

test.each([
  ['1500', '1500'],
  ['1500.0', '1500'],
  ['0.4', '1'],
  ['2147483648', '2147483647'],
  ['9'.repeat(400), '2147483647'],
  ['soon', 'soon'],
  ['-1', '-1'],
  ['1e3', '1e3'],
  ['', ''],
])('a timeout of %j becomes %j', (given, taken) => {
  expect(relaxed({ 'connect-timeout-ms': given })['connect-timeout-ms']).toBe(taken);
});

test('a missing timeout stays missing, and a missing version becomes the only one', () => {
  expect(relaxed({})).toEqual({ 'connect-protocol-version': '1' });
  expect(relaxed({ 'connect-protocol-version': '9' })).toEqual({ 'connect-protocol-version': '9' });
});
