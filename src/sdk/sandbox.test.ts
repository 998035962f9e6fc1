import { expect, test } from 'vitest';
import { Millibox } from './index.ts';

test('a handle by id makes no request, and knows nothing but the id', async () => {
  await using client = new Millibox({ url: 'http://127.0.0.1:1' });
  const sandbox = client.sandboxes.at('sbx-0123');
  expect(sandbox.id).toBe('sbx-0123');
  expect(() => sandbox.info).toThrow(TypeError);
  expect(JSON.stringify({ sandbox })).toBe('{"sandbox":null}');
});
