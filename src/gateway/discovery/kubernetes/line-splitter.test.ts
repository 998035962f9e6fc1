import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MalformedError } from './errors.ts';
import { LineSplitter } from './line-splitter.ts';

test('lines come out intact, wherever the bytes were cut', () => {
  const text = fc.array(fc.stringMatching(/^[a-z{}"é🙂]{1,12}$/u), { minLength: 1 });
  fc.assert(
    fc.property(text, fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1 }), (lines, cuts) => {
      const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
      const reader = new LineSplitter(1_000);
      const found: string[] = [];
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const length = cuts[i % cuts.length] ?? 1;
        found.push(...reader.push(bytes.subarray(at, at + length)));
        at += length;
      }
      expect(found).toEqual(lines);
    }),
  );
});

test('empty lines are skipped, and an unfinished line waits', () => {
  const reader = new LineSplitter(100);
  expect([...reader.push(Buffer.from('\n\r\n  \na'))]).toEqual([]);
  expect([...reader.push(Buffer.from('b\n'))]).toEqual(['ab']);
});

test('a line without end is refused before it fills the memory', () => {
  const reader = new LineSplitter(10);
  expect([...reader.push(Buffer.from('12345678'))]).toEqual([]);
  expect(() => [...reader.push(Buffer.from('90x'))]).toThrow(MalformedError);
});
