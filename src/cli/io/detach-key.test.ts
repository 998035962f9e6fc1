import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DetachKeys } from './detach-key.ts';

const P = 0x10;
const Q = 0x11;

test('Ctrl-P Ctrl-Q detaches, even when read separately; what was typed before is passed on', () => {
  const keys = new DetachKeys();
  expect(keys.take(Uint8Array.of(97, P))).toEqual({ pass: Uint8Array.of(97), detach: false });
  expect(keys.take(Uint8Array.of(Q, 98))).toEqual({ pass: Uint8Array.of(), detach: true });
});

test('a Ctrl-P followed by another key is passed on', () => {
  const keys = new DetachKeys();
  expect(keys.take(Uint8Array.of(P, 97)).pass).toEqual(Uint8Array.of(P, 97));
  expect(keys.take(Uint8Array.of(P, P, 97)).pass).toEqual(Uint8Array.of(P, P, 97));
});

test('without the sequence every byte is passed on, however the input is cut', () => {
  const typing = fc.array(fc.uint8Array({ maxLength: 8 }).map((bytes) => bytes.filter((byte) => byte !== Q)));
  fc.assert(
    fc.property(typing, (pieces) => {
      const keys = new DetachKeys();
      const out = pieces.flatMap((piece) => [...keys.take(piece).pass]);
      // The last key may be a Ctrl-P that is still held.
      const all = pieces.flatMap((piece) => [...piece]);
      expect(all.at(-1) === P ? [...out, P] : out).toEqual(all);
    }),
  );
});

test('a held Ctrl-P can be released', () => {
  const keys = new DetachKeys();
  expect(keys.take(Uint8Array.of(P)).pass).toHaveLength(0);
  expect(keys.holding).toBe(true);
  expect(keys.release()).toEqual(Uint8Array.of(P));
  expect(keys.holding).toBe(false);
  expect(keys.take(Uint8Array.of(Q))).toEqual({ pass: Uint8Array.of(Q), detach: false });
});
