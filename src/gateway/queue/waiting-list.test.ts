import { afterEach, expect, test, vi } from 'vitest';
import { silent, type Logger } from '../../lib/logger.ts';
import type { RedisLink, RedisListener } from '../redis/link.ts';
import { WaitingList } from './waiting-list.ts';

/** What Redis answers to one reading of everything. */
type Answer = [era: string, sequence: string, waiting: string[], ended: string[]];

let list: WaitingList | undefined;
afterEach(() => list?.stop());

/** A list whose readings are answered by hand. */
function start(log: Logger = silent) {
  const reads: ((answer: Answer) => void)[] = [];
  let listener: RedisListener | undefined;
  const link = {
    client: { options: {} },
    up: true,
    hears: true,
    listen: (_channel: string, its: RedisListener) => (listener = its),
    run: () => new Promise<Answer>((resolve) => reads.push(resolve)),
  } as unknown as RedisLink;
  const seen: string[] = [];
  const onAll = vi.fn<() => void>();
  list = new WaitingList(link, log);
  list.start({
    waits: () => seen.push('waits'),
    ended: () => seen.push('ended'),
    withdrawn: () => seen.push('withdrawn'),
    gone: (id) => seen.push(id),
    all: () => {
      seen.push('all');
      onAll();
    },
  });
  listener?.joined();
  const hear = (sequence: number): void =>
    listener?.message(JSON.stringify({ type: 'gone', sequence, id: `gone-${sequence}` }));
  return { reads, seen, hear, onAll, list };
}

test('messages that come while everything is read are applied behind it, and cost no other reading', async () => {
  const { reads, seen, hear } = start();
  for (const sequence of [7, 8, 9]) hear(sequence);
  reads[0]?.(['era', '7', [], []]);
  await vi.waitUntil(() => seen.length >= 3);
  hear(10);
  expect(seen).toEqual(['all', 'gone-8', 'gone-9', 'gone-10']);
  expect(reads).toHaveLength(1);
});

test('a message that is missing behind a reading has everything read again', async () => {
  const { reads, seen, hear } = start();
  hear(9);
  reads[0]?.(['era', '7', [], []]);
  await vi.waitUntil(() => reads.length === 2);
  hear(10);
  reads[1]?.(['era', '9', [], []]);
  await vi.waitUntil(() => seen.includes('gone-10'));
  expect(seen).toEqual(['all', 'all', 'gone-10']);
});

test('a fault of those who are told is logged, and not taken for a Redis that is away', async () => {
  const error = vi.fn();
  const { reads, hear, onAll, list } = start({ ...silent, error });
  onAll.mockImplementationOnce(() => {
    throw new Error('fault');
  });
  vi.useFakeTimers();
  try {
    reads[0]?.(['era', '7', [], []]);
    await vi.waitUntil(() => error.mock.calls.length > 0);
    expect(error).toHaveBeenCalledWith(expect.objectContaining({ err: new Error('fault') }), expect.any(String));
    // What was told in part is no copy, and it is not read again as often as a Redis that is away.
    expect(list.current).toBe(false);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(reads).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(reads).toHaveLength(2);
    hear(8);
    reads[1]?.(['era', '8', [], []]);
    await vi.waitUntil(() => list.current);
  } finally {
    vi.useRealTimers();
  }
});
