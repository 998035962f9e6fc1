import { expect, test } from 'vitest';
import { parseQuery } from './query.ts';

test.each([
  ['', {}],
  ['&&', {}],
  ['a', { a: '' }],
  ['a=1&b=2=3', { a: '1', b: '2=3' }],
  ['a=1&a=2&a=3', { a: ['1', '2', '3'] }],
  ['a=x+y%2B%20', { a: 'x y+ ' }],
  ['a=%', { a: '%' }],
  ['a=%zz%4', { a: '%zz%4' }],
  ['%61=%41', { a: 'A' }],
  ['a=%C3%A9', { a: 'é' }],
  // As sent by a client that encodes nothing: Node passes each byte as one character.
  ['a=\xc3\xa9', { a: 'é' }],
  ['a=%ff%fe', { a: '\udcff\udcfe' }],
  ['a=%ed%a0%80', { a: '\udced\udca0\udc80' }],
  ['a=%00', { a: '\0' }],
])('%j', (text, query) => {
  expect({ ...parseQuery(text) }).toEqual(query);
});

test('__proto__ is a key like any other', () => {
  const query = parseQuery('__proto__=1&constructor=2');
  expect(Object.entries(query)).toEqual([
    ['__proto__', '1'],
    ['constructor', '2'],
  ]);
  expect(Object.getPrototypeOf(query)).toBe(null);
});

test('many values do not take quadratic time', () => {
  expect(parseQuery('a=1&'.repeat(100_000))['a']).toHaveLength(100_000);
});
