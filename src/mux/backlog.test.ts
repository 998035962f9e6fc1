import { expect, test } from 'vitest';
import type { ServiceError } from '../protocol/errors.ts';
import { memoryPair } from './memory-transport.ts';
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

test('requests beyond what may wait for the link are refused, and the streams that are open stay', () => {
  const { mux, closes } = stuck();
  const ended: unknown[] = [];
  let opened = 0;
  const ask = (): void => {
    const big = { op: 'exec', argv: ['x'.repeat(1_000_000)] };
    for (let i = 0; i < 200; i++, opened++) mux.open(big, { closed: (error) => ended.push(error?.code) });
  };
  const refused = expect.objectContaining({ code: 'rate_limited', retryAfterMs: 500 });
  expect(ask).toThrow(refused);
  expect(ask).toThrow(refused);
  expect(opened).toBeGreaterThan(50);
  expect([mux.closed, closes, ended]).toEqual([false, [], []]);
});

test('requests that wait do not make a peer that sends a PING one that reads no answers', async () => {
  const pair = memoryPair({ schedule: (deliver) => setImmediate(deliver) });
  const closes: (string | undefined)[] = [];
  const options = { hello: {}, onHello: () => undefined };
  const onClose = (error: ServiceError | null): void => void closes.push(error?.message);
  const ours = createMux({ transport: pair.a, role: 'dialler', ...options, onClose });
  const theirs = createMux({ transport: pair.b, role: 'listener', ...options, onClose, onOpen: () => ({}) });
  const big = { op: 'exec', argv: ['x'.repeat(1_000_000)] };
  for (let i = 0; i < 20; i++) ours.open(big, {});
  expect(ours.crowded).toBe(true);
  await theirs.ping();
  expect(closes).toEqual([]);
  await ours.room();
  expect(ours.crowded).toBe(false);
  ours.close();
  theirs.close();
});

test('whoever waits for room on a link is told when it closes', async () => {
  const { mux } = stuck();
  for (let i = 0; i < 20; i++) mux.open({ op: 'exec', argv: ['x'.repeat(1_000_000)] }, {});
  const told = mux.room();
  mux.close();
  await told;
  expect(mux.crowded).toBe(false);
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
