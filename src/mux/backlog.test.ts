import { expect, test } from 'vitest';
import { createMux } from './mux.ts';
import type { Transport } from './types.ts';

test('a stream tells how many bytes of messages wait for the transport, of whichever stream they are', async () => {
  const unsent: (() => void)[] = [];
  const transport: Transport = {
    send: (_bytes, done) => void unsent.push(done),
    start: () => undefined,
    close: () => undefined,
  };
  const mux = createMux({ transport, role: 'dialler', hello: {}, onHello: () => undefined });
  const one = mux.open({ op: 'one' }, {});
  const two = mux.open({ op: 'two' }, {});
  expect(two.backlog).toBe(0);
  const text = 'x'.repeat(64 * 1024);
  for (let i = 0; i < 32; i++) {
    one.event({ type: 'message', text });
    await Promise.resolve();
  }
  expect(two.backlog).toBeGreaterThan(1024 * 1024);
  while (unsent.length > 0) {
    unsent.shift()?.();
    await Promise.resolve();
  }
  expect(two.backlog).toBe(0);
  mux.close();
});
