import { expect, test } from 'vitest';
import { endOfCharacters } from './end-of-characters.ts';

test.each(['', 'a', 'aé', 'a€', 'a😀'])('every cut of %j ends behind its last whole character', (text) => {
  const bytes = Buffer.from(text);
  const ends = new Set([0]);
  for (const character of text) ends.add(Math.max(...ends) + Buffer.byteLength(character));
  for (let cut = 0; cut <= bytes.length; cut++) {
    const last = Math.max(...[...ends].filter((end) => end <= cut));
    expect(endOfCharacters(bytes.subarray(0, cut))).toBe(last);
  }
});

test('bytes that are not text are all kept', () => {
  for (const bytes of [[0x80, 0x80, 0x80, 0x80], [0x61, 0x80], [0x80]]) {
    expect(endOfCharacters(Uint8Array.from(bytes))).toBe(bytes.length);
  }
});
