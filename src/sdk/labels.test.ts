import { expect, test } from 'vitest';
import { Millibox } from './index.ts';
import { labelPairs } from './labels.ts';

test('a value may contain an =, and the first = ends the name', () => {
  expect(labelPairs({ a: 'b=c', d: '' })).toEqual([
    ['label', 'a=b=c'],
    ['label', 'd='],
  ]);
});

test('a label that no call could find is refused', async () => {
  await using client = new Millibox({ url: 'http://127.0.0.1:1' });
  const { sandboxes } = client;
  for (const labels of [{ 'a=b': 'c' }, { run: 1 as never }]) {
    const refused = expect.objectContaining({ code: 'invalid_request' }) as Error;
    expect(() => sandboxes.create({ labels })).toThrow(refused);
    expect(() => sandboxes.createMany(2, { labels })).toThrow(refused);
  }
});
