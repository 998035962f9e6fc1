import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteAccumulator } from './byte-accumulator.ts';

test('however the bytes arrived, all are taken once and in order', () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 50 }));
  fc.assert(
    fc.property(fc.array(pieces), (rounds) => {
      const gathered = new ByteAccumulator();
      for (const round of rounds) {
        for (const piece of round) gathered.push(piece);
        const all = Buffer.concat(round);
        expect(gathered.empty).toBe(all.length === 0);
        expect(Buffer.concat(gathered.take()).equals(all)).toBe(true);
        expect(gathered.take()).toEqual([]);
      }
    }),
  );
});

test('many small pieces become few large ones, and a large one stays by itself', () => {
  const gathered = new ByteAccumulator();
  for (let at = 0; at < 256 * 1024; at++) gathered.push(Buffer.from([at & 255]));
  const taken = gathered.take();
  expect(taken.length).toBeLessThan(64);
  expect(Buffer.concat(taken).every((byte, at) => byte === (at & 255))).toBe(true);
  gathered.push(Buffer.alloc(64 * 1024));
  expect(gathered.take().map((piece) => piece.buffer.byteLength)).toEqual([64 * 1024]);
});

test('a piece is copied, so that its sender may reuse its memory', () => {
  const gathered = new ByteAccumulator();
  const piece = Buffer.from('one');
  gathered.push(piece);
  piece.write('two');
  expect(Buffer.concat(gathered.take()).toString()).toBe('one');
});
