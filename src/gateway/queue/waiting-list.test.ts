import { afterEach, expect, test, vi } from 'vitest';
import { silent, type Logger } from '../../lib/logger.ts';
import type { RedisLink, RedisListener } from '../redis/link.ts';
import { WaitingList } from './waiting-list.ts';

/** What Redis answers when everything is read. */
type Answer = [era: string, sequence: string, waiting: string[], ended: string[]];

let list: WaitingList | undefined;
afterEach(() => list?.stop());

/** A list whose reads are answered by hand. */
function start(log: Logger = silent) {
  const reads: ((answer: Answer) => void)[] = [];
  let listener: RedisListener | undefined;
  const link = {
    client: { options: {} },
    up: true,
    subscribed: true,
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
  const deliver = (sequence: number): void =>
    listener?.message(JSON.stringify({ type: 'gone', sequence, id: `gone-${sequence}` }));
  return { reads, seen, deliver, onAll, list };
}

test('messages that arrive during a full read are applied after it, without another read', async () => {
  const { reads, seen, deliver } = start();
  for (const sequence of [7, 8, 9]) deliver(sequence);
  reads[0]?.(['era', '7', [], []]);
  await vi.waitUntil(() => seen.length >= 3);
  deliver(10);
  expect(seen).toEqual(['all', 'gone-8', 'gone-9', 'gone-10']);
  expect(reads).toHaveLength(1);
});

test('a message missing after a full read triggers another one', async () => {
  const { reads, seen, deliver } = start();
  deliver(9);
  reads[0]?.(['era', '7', [], []]);
  await vi.waitUntil(() => reads.length === 2);
  deliver(10);
  reads[1]?.(['era', '9', [], []]);
  await vi.waitUntil(() => seen.includes('gone-10'));
  expect(seen).toEqual(['all', 'all', 'gone-10']);
});

test("a listener's fault is logged, and not mistaken for a Redis that is away", async () => {
  const error = vi.fn();
  const { reads, deliver, onAll, list } = start({ ...silent, error });
  onAll.mockImplementationOnce(() => {
    throw new Error('fault');
  });
  vi.useFakeTimers();
  try {
    reads[0]?.(['era', '7', [], []]);
    await vi.waitUntil(() => error.mock.calls.length > 0);
    expect(error).toHaveBeenCalledWith(expect.objectContaining({ err: new Error('fault') }), expect.any(String));
    // A partially delivered snapshot is no copy, and it is not read again as often as when Redis is away.
    expect(list.current).toBe(false);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(reads).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(reads).toHaveLength(2);
    deliver(8);
    reads[1]?.(['era', '8', [], []]);
    await vi.waitUntil(() => list.current);
  } finally {
    vi.useRealTimers();
  }
});
