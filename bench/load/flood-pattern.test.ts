import { expect, test } from 'vitest';
import { floodPieces, FloodCheck } from './flood-pattern.ts';

test('the pattern checks itself, however it is cut', () => {
  const total = 1_000_003;
  for (const size of [1_000_003, 65_536, 4_097]) {
    const check = new FloodCheck();
    for (const piece of floodPieces(total, size)) check.take(piece);
    expect(check.bytes).toBe(total);
  }
});

test('a changed, lost or duplicated byte is found', () => {
  const good = Buffer.concat([...floodPieces(300_000)]);
  const changed = Buffer.from(good);
  changed[200_000] = (changed[200_000] as number) ^ 1;
  const lost = Buffer.concat([good.subarray(0, 100_000), good.subarray(100_001)]);
  const doubled = Buffer.concat([good.subarray(0, 100_000), good.subarray(99_999)]);
  for (const bad of [changed, lost, doubled]) expect(() => new FloodCheck().take(bad)).toThrow(/wrong/);
});
