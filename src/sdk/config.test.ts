import { expect, test } from 'vitest';
import { loadConfig } from './config.ts';

test('a key may be what a file or a shell gave, with its line end', () => {
  expect(loadConfig({ apiKey: ' mbx_key\r\n' }).apiKey).toBe('mbx_key');
});

test('a key that no header can carry is named as such, and not taken for a service that is away', () => {
  for (const apiKey of ['a\nb', 'a b', 'a\u20acb']) expect(() => loadConfig({ apiKey })).toThrow(/^the API key/);
});
