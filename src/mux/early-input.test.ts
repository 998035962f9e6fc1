import { expect, test } from 'vitest';
import type { ExecCommand } from '../protocol/exec.ts';
import { Channel } from '../protocol/frames.ts';
import { DeferredCredit } from './deferred-credit.ts';
import { EarlyInput } from './early-input.ts';

const TERM: ExecCommand = { type: 'signal', signal: 'TERM' };

function passed(early: EarlyInput): unknown[] {
  const seen: unknown[] = [];
  early.passTo({
    data: (channel, bytes) => seen.push([channel, Buffer.from(bytes).toString()]),
    command: (command) => seen.push(command),
    fin: (channel) => seen.push(`fin ${channel}`),
  });
  return seen;
}

test('early input is passed on in order: bytes first, then commands, the end last', () => {
  const early = new EarlyInput();
  early.command({ type: 'kill' });
  early.command(TERM);
  for (const letter of 'text') early.data(Channel.SCRIPT, Buffer.from(letter));
  early.fin(Channel.SCRIPT);
  early.data(Channel.STDIN, Buffer.from('in'));
  early.fin(Channel.ALL);
  const parts = passed(early);
  const script = parts.filter((part) => Array.isArray(part) && part[0] === Channel.SCRIPT) as [number, string][];
  expect(script.map(([, text]) => text).join('')).toBe('text');
  expect(parts.slice(script.length)).toEqual([
    `fin ${Channel.SCRIPT}`,
    [Channel.STDIN, 'in'],
    TERM,
    { type: 'kill' },
    `fin ${Channel.ALL}`,
  ]);
});

test('of several sizes only the newest is kept, and of several kills one', () => {
  const early = new EarlyInput();
  for (let cols = 1; cols <= 10_000; cols++) {
    expect(early.command({ type: 'resize', cols, rows: 1 })).toBe(true);
    expect(early.command({ type: 'kill' })).toBe(true);
  }
  expect(passed(early)).toEqual([{ type: 'resize', cols: 10_000, rows: 1 }, { type: 'kill' }]);
});

test('what costs its sender no credit is bounded: signals, changes of channel, empty frames', () => {
  const early = new EarlyInput();
  const signals = Array.from({ length: 1_000 }, () => early.command(TERM));
  expect([signals[0], signals.at(-1)]).toEqual([true, false]);
  for (let i = 0; i < 10_000; i++) expect(early.data(Channel.STDIN, new Uint8Array(0))).toBe(true);
  const changes = Array.from({ length: 10_000 }, (_, i) => early.data(i % 2, Buffer.from('x')));
  expect([changes[0], changes.includes(false)]).toEqual([true, true]);
  expect(passed(early).length).toBeLessThan(1_000);
});

test('credit for many writes waiting for the same room is returned at once, and none is lost', async () => {
  const returned: number[] = [];
  const credit = new DeferredCredit((bytes) => returned.push(bytes));
  const first = Promise.withResolvers<void>();
  for (let i = 0; i < 1_000; i++) credit.when(first.promise, 2);
  credit.when(undefined, 5);
  expect(returned).toEqual([5]);
  first.resolve();
  await first.promise;
  expect(returned).toEqual([5, 2_000]);
  // A writer may hand out the same promise again.
  credit.when(first.promise, 3);
  credit.when(Promise.resolve(), 4);
  await Promise.resolve();
  expect(returned).toEqual([5, 2_000, 3, 4]);
});
