import fc from 'fast-check';
import { expect, test } from 'vitest';
import { printable } from './print.ts';
import { tableLines } from './table.ts';

const ID = 'sbx-3ed425b73f32dd9effbe03b1ed698df1';
const ROWS = [
  ['ID', 'STATUS', 'IMAGE', 'LABELS'],
  [ID, 'RUNNING', 'registry.example.com/team/very-long-name:latest', 'a=1,b=2'],
];

test('without a terminal nothing is shortened', () => {
  expect(tableLines(ROWS)).toEqual([
    `ID                                    STATUS   IMAGE                                            LABELS`,
    `${ID}  RUNNING  registry.example.com/team/very-long-name:latest  a=1,b=2`,
  ]);
});

test('the widest columns are shortened first, then the last ones left out; the first stays', () => {
  expect(tableLines(ROWS, 80)[1]).toBe(`${ID}  RUNNING  registry.example.com/te…  a=1,b=2`);
  expect(tableLines(ROWS, 46)[1]).toBe(`${ID}  RUNNING`);
  expect(tableLines(ROWS, 10)).toEqual(['ID', 'sbx-3ed42…']);
});

test('no line is wider than the terminal, whatever it contains', () => {
  const cell = fc.string({ unit: 'grapheme', maxLength: 40 }).map(printable);
  const table = fc
    .integer({ min: 1, max: 6 })
    .chain((columns) =>
      fc.array(fc.array(cell, { minLength: columns, maxLength: columns }), { minLength: 1, maxLength: 4 }),
    );
  fc.assert(
    fc.property(table, fc.integer({ min: 1, max: 120 }), (rows, width) => {
      const lines = tableLines(rows, width);
      expect(lines).toHaveLength(rows.length);
      for (const line of lines) expect([...line].length).toBeLessThanOrEqual(width);
    }),
  );
});

test('foreign text can neither control the terminal nor reverse its text', () => {
  expect(printable('a\u001b[2Jb\nc\u009bd\u202ee')).toBe('a\\x1b[2Jb\\x0ac\\x9bd\\u202ee');
});
