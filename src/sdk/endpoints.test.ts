import { expect, test } from 'vitest';
import { Endpoints } from './endpoints.ts';

const at = (i: number, of: number) => () => i / of;

test('one is used until it fails; then each of the others once, before a pause', () => {
  let now = 0;
  const endpoints = new Endpoints(['a', 'b', 'c'], { random: at(1, 3), now: () => now });
  expect(endpoints.current).toBe('b');
  expect(endpoints.failed('b')).toBe(true);
  expect(endpoints.current).toBe('c');
  expect(endpoints.failed('c')).toBe(true);
  expect(endpoints.current).toBe('a');
  now += 1_000;
  expect(endpoints.failed('a')).toBe(false);
  // The one that failed first is tried again first.
  expect(endpoints.current).toBe('b');
  now += 60_000;
  expect(endpoints.failed('b')).toBe(true);
});

test('several calls that fail at once switch once', () => {
  const endpoints = new Endpoints(['a', 'b', 'c'], { random: at(0, 3), now: () => 0 });
  for (let i = 0; i < 10; i++) expect(endpoints.failed('a')).toBe(true);
  expect(endpoints.current).toBe('b');
});

test('with only one there is nothing to switch to', () => {
  const endpoints = new Endpoints(['a']);
  expect(endpoints.failed('a')).toBe(false);
  expect(endpoints.current).toBe('a');
});

test('clients spread over all of them', () => {
  const urls = ['a', 'b', 'c', 'd'];
  const seen = new Set(Array.from({ length: 500 }, () => new Endpoints(urls).current));
  expect(seen.size).toBe(4);
});
