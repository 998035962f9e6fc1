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
])('a timeout of %j is %j', (given, taken) => {
  expect(relaxed({ 'connect-timeout-ms': given })['connect-timeout-ms']).toBe(taken);
});

test('without a timeout there is none, and without a version it is the one there is', () => {
  expect(relaxed({})).toEqual({ 'connect-protocol-version': '1' });
  expect(relaxed({ 'connect-protocol-version': '9' })).toEqual({ 'connect-protocol-version': '9' });
});
