import { expect, test } from 'vitest';
import { createMux } from './mux.ts';
import type { Transport } from './types.ts';

test('a stream reports how many bytes of messages wait for the transport, over all streams of the link', async () => {
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

/** A link whose transport accepts everything and never reports it as sent, and the calls its owner gets. */
function stuck() {
  const closes: (string | undefined)[] = [];
  const failures: unknown[] = [];
  const mux = createMux({
    transport: { send: () => undefined, start: () => undefined, close: () => undefined },
    role: 'dialler',
    hello: {},
    onHello: () => undefined,
    onClose: (error) => closes.push(error?.code),
    onFailure: (error) => failures.push(error),
  });
  return { mux, closes, failures };
}

test('a link whose peer reads nothing is closed once, and further calls on it report that', () => {
  const { mux, closes } = stuck();
  const ended: unknown[] = [];
  const ask = (): void => {
    const big = { op: 'exec', argv: ['x'.repeat(1_000_000)] };
    for (let i = 0; i < 200; i++) mux.open(big, { closed: (error) => ended.push(error?.code) });
  };
  expect(ask).toThrow(expect.objectContaining({ code: 'node_unavailable' }));
  expect(ask).toThrow(expect.objectContaining({ code: 'node_unavailable' }));
  expect(mux.closed).toBe(true);
  expect(closes).toEqual(['protocol_error']);
  // All streams that were opened, without the one that was refused.
  expect(ended.length).toBeGreaterThan(50);
  expect(new Set(ended)).toEqual(new Set(['interrupted']));
});

test('messages that a peer does not read close its link, and throw at no sender', () => {
  const { mux, closes } = stuck();
  const stream = mux.open({ op: 'events' }, {});
  const text = 'x'.repeat(1_000_000);
  for (let i = 0; i < 100; i++) stream.event({ type: 'message', text });
  expect(stream.closed).toBe(true);
  expect(closes).toEqual(['protocol_error']);
});

test('a handler that throws does not keep another from being closed, and the owner is notified', () => {
  const { mux, failures } = stuck();
  const ended: string[] = [];
  const wrong = new Error('wrong');
  mux.open({ op: 'one' }, { closed: () => { throw wrong; } }); // prettier-ignore
  mux.open({ op: 'two' }, { closed: () => ended.push('two') });
  mux.close();
  expect(ended).toEqual(['two']);
  expect(failures).toEqual([wrong]);
});
