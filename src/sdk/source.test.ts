import { expect, test } from 'vitest';
import { readSource, type ByteSource } from './source.ts';

async function all(source: ByteSource): Promise<string> {
  const read = readSource(source);
  if (read instanceof Uint8Array) return Buffer.from(read).toString();
  const pieces: Uint8Array[] = [];
  for await (const piece of read) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

async function* generated() {
  yield 'a';
  await Promise.resolve();
  yield Buffer.from('b');
}

const bytes = Uint8Array.from(Buffer.from('abcd'));

test.each<[string, ByteSource, string]>([
  ['text', 'é', 'é'],
  ['bytes', bytes, 'abcd'],
  ['an ArrayBuffer', bytes.buffer, 'abcd'],
  ['numbers of two bytes', new Uint16Array(bytes.buffer), 'abcd'],
  ['a part of a buffer', new DataView(bytes.buffer, 1, 2), 'bc'],
  ['a list of pieces', ['a', bytes, new DataView(bytes.buffer, 3)], 'aabcdd'],
  ['a generator', generated(), 'ab'],
  ['a web stream', new Blob(['web']).stream(), 'web'],
])('%s is a source', async (_, source, text) => {
  expect(await all(source)).toBe(text);
});

test.each([null, undefined, 5, {}, true])('%j is no source', (source) => {
  expect(() => readSource(source as never)).toThrow(TypeError);
});

test.each([5, null, {}])('the chunk %j is refused, not left out', async (piece) => {
  await expect(all([piece] as never)).rejects.toThrow(TypeError);
});
