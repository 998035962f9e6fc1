import { expect, test } from 'vitest';
import { between, duration, integer, label, location, megabytes, pair, positive, whole } from './parse.ts';

test('durations have units, and a bare number is in seconds', () => {
  expect(['500ms', '30', '30s', '1.5m', '2h', '1d'].map(duration)).toEqual([
    500, 30_000, 30_000, 90_000, 7_200_000, 86_400_000,
  ]);
  for (const bad of ['', '-1', '5x', '1 s', 'NaN', '1e3']) expect(() => duration(bad)).toThrow(/duration/);
});

test('sizes are in megabytes unless they say gigabytes', () => {
  expect(['512', '512m', '2g', '0.5GB'].map(megabytes)).toEqual([512, 512, 2048, 512]);
  for (const bad of ['', '-5', '5k', 'g']) expect(() => megabytes(bad)).toThrow(/size/);
});

test('pairs accumulate, and a value may contain an equals sign', () => {
  expect(pair('A=b=c', pair('X='))).toEqual({ X: '', A: 'b=c' });
  expect(() => pair('=x')).toThrow(/NAME=VALUE/);
});

test('the first = ends the name of a label, and a label has one value', () => {
  expect(label('a=b=c', label('x=='))).toEqual({ x: '=', a: 'b=c' });
  expect(label('a=', label('a='))).toEqual({ a: '' });
  expect(() => label('a=2', label('a=1'))).toThrow(/a already has the value 1/);
  expect(() => label('=x')).toThrow(/NAME=VALUE/);
});

test('a path in a sandbox has its id before the colon; everything else is a local path', () => {
  expect(location('sbx-1a2b:/etc/passwd')).toEqual({ sandbox: 'sbx-1a2b', path: '/etc/passwd' });
  expect(location('sbx-1a2b:')).toEqual({ sandbox: 'sbx-1a2b', path: '.' });
  expect(location('./sbx-1a2b:x')).toEqual({ sandbox: undefined, path: './sbx-1a2b:x' });
  expect(location('file.txt')).toEqual({ sandbox: undefined, path: 'file.txt' });
});

test('invalid numbers are refused', () => {
  expect(['-3', '0', '7'].map(integer)).toEqual([-3, 0, 7]);
  for (const bad of ['', ' ', '1.5', 'high']) expect(() => integer(bad)).toThrow(/whole number/);
  expect(positive('0.5')).toBe(0.5);
  expect(whole('0')).toBe(0);
  expect(['1', '3'].map(between(1, 3))).toEqual([1, 3]);
  for (const bad of ['', '0', '4', '1.5', 'x']) expect(() => between(1, 3)(bad)).toThrow(/from 1 to 3/);
  for (const bad of ['0', '-1', 'x']) expect(() => positive(bad)).toThrow();
  for (const bad of ['', '1.5', '-1', 'x']) expect(() => whole(bad)).toThrow();
});
