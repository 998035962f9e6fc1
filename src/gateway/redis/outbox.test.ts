import { expect, onTestFinished, test, vi } from 'vitest';
import { silent, type Logger } from '../../lib/logger.ts';
import { unavailable } from './link.ts';
import { Outbox } from './outbox.ts';

/** The capacity of an outbox. */
const MOST = 300;

function recordingLog(): { log: Logger; logged: string[] } {
  const logged: string[] = [];
  const record = (_fields: unknown, text: string): void => void logged.push(text);
  return { log: { ...silent, warn: record, error: record } as Logger, logged };
}

test('of several writes to one key the last is made, and every sender is notified', async () => {
  const outbox = new Outbox(silent);
  const first = Promise.withResolvers<void>();
  const made: string[] = [];
  const both = [
    outbox.send('key', async () => {
      await first.promise;
      made.push('first');
    }),
    outbox.send('key', () => Promise.resolve(void made.push('second'))),
  ];
  first.resolve();
  await Promise.all(both);
  expect(made).toEqual(['first', 'second']);
  expect(outbox.size).toBe(0);
  outbox.stop();
});

test('writes beyond the capacity are dropped; this is logged once, and the count when there is room again', async () => {
  const { log, logged } = recordingLog();
  const outbox = new Outbox(log, MOST);
  const stuck = Promise.withResolvers<void>();
  for (let i = 0; i < MOST; i++) void outbox.send(`key ${i}`, () => stuck.promise);
  for (let i = 0; i < 3; i++) await outbox.send(`more ${i}`, () => expect.unreachable());
  expect(logged).toEqual(['there is no room to keep changes that redis must get']);
  stuck.resolve();
  await outbox.settled();
  await outbox.send('after', () => Promise.resolve());
  expect(logged).toEqual([
    'there is no room to keep changes that redis must get',
    'changes were not sent to redis: there is no room to keep them',
  ]);
  outbox.stop();
});

test('writes beyond the concurrent ones follow as soon as others are done', async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const outbox = new Outbox(silent);
  let made = 0;
  for (let i = 0; i < MOST; i++) void outbox.send(`key ${i}`, () => Promise.resolve(void (made += 1)));
  await outbox.settled();
  expect(made).toBe(MOST);
  outbox.stop();
});

test('once it has stopped nothing is written, and nobody waits for it', async () => {
  const outbox = new Outbox(silent);
  const first = outbox.send('first', () => Promise.reject(new Error('away')));
  outbox.stop();
  await first;
  await outbox.send('second', () => expect.unreachable());
  expect(outbox.size).toBe(0);
});

test('a write that fails although Redis answers is logged once and retried', async () => {
  const error = vi.fn();
  const outbox = new Outbox({ ...silent, error });
  let tries = 0;
  const fault = new TypeError('fault');
  const sent = outbox.send('key', () => ((tries += 1) < 3 ? Promise.reject(fault) : Promise.resolve()));
  while (tries < 3) {
    await new Promise((resolve) => setImmediate(resolve));
    outbox.flush();
  }
  await sent;
  const away = outbox.send('other', () => Promise.reject(unavailable()));
  await new Promise((resolve) => setImmediate(resolve));
  outbox.stop();
  await away;
  expect(error.mock.calls).toEqual([[{ err: fault }, expect.any(String)]]);
});
