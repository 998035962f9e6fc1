import { expect, test } from 'vitest';
import * as z from 'zod';
import { stringMap } from './string-map.ts';

const Map = stringMap(z.string().regex(/^[^=]{1,20}$/), z.string().max(3));
const parse = (text: string): unknown => Map.parse(JSON.parse(text));

test.each(['{}', '{"A":"1","B":""}', '{"__proto__":"x"}', '{"constructor":"1","__proto__":"2","toString":"3"}'])(
  '%s keeps each of its names',
  (text) => {
    expect(JSON.stringify(Object.entries(parse(text) as object).sort())).toBe(
      JSON.stringify(Object.entries(JSON.parse(text) as object).sort()),
    );
    expect(Object.getPrototypeOf(parse(text))).toBe(Object.prototype);
  },
);

test.each([
  'null',
  '[]',
  '"text"',
  '{"A":1}',
  '{"a=b":"c"}',
  '{"A":"long"}',
  '{"__proto__":1}',
  '{"__proto__":"long"}',
])('%s is not valid', (text) => {
  expect(Map.safeParse(JSON.parse(text)).success).toBe(false);
});

test('a problem is reported under the name it concerns', () => {
  const inside = z.strictObject({ env: Map.optional() });
  expect(inside.parse({})).toEqual({});
  const paths = (text: string) => inside.safeParse({ env: JSON.parse(text) }).error?.issues.map(({ path }) => path);
  expect(paths('{"A":1}')).toEqual([['env', 'A']]);
  expect(paths('{"__proto__":1}')).toEqual([['env', '__proto__']]);
});

test('it is described like a record', () => {
  expect(z.toJSONSchema(Map, { io: 'input' })).toMatchObject({
    type: 'object',
    additionalProperties: { type: 'string', maxLength: 3 },
  });
});
