import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bytesOfName, bytesOfText, encodeName, nameOfBytes } from './names.ts';

test('any bytes survive the conversion to text and back', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      expect([...bytesOfName(nameOfBytes(bytes))]).toEqual([...bytes]);
    }),
  );
});

test('UTF-8 stays as it is, and only invalid bytes become surrogates', () => {
  expect(nameOfBytes(Buffer.from('é😀'))).toBe('é😀');
  expect(nameOfBytes(Buffer.from([0xff, 0x41, 0xc3, 0xa9, 0xc3]))).toBe('\udcffAé\udcc3');
  // A surrogate in UTF-8 is no character.
  expect(nameOfBytes(Buffer.from([0xed, 0xa0, 0x80]))).toBe('\udced\udca0\udc80');
});

test('in a URL a name is its bytes', () => {
  expect(encodeName('/a b/é')).toBe('%2Fa%20b%2F%C3%A9');
  expect(encodeName('/\udcff')).toBe('%2f%ff');
});

test('a surrogate that stands for no byte is refused, not replaced', () => {
  for (const name of ['\ud800', 'a\udc7f', '\udd00', '\udfff\udcff']) {
    expect(() => encodeName(name)).toThrow('stands for no byte');
  }
});

test('any text has bytes: a stray byte is itself, any other lone surrogate U+FFFD, as in boxinit', () => {
  expect(bytesOfText('xé')).toEqual(Buffer.from('xé'));
  expect(bytesOfText('x\udcff\ud83d\ude00\ud800y')).toEqual(
    Buffer.concat([Buffer.from('x'), Buffer.of(0xff), Buffer.from('😀\ufffdy')]),
  );
});
