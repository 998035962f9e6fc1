import { expect, test, vi } from 'vitest';
import type { Json, MuxStream } from '../../src/mux/index.ts';
import { LinkRoom } from './link-room.ts';

/** Streams of a link that has room for one more answer at a time, when it is told so. */
function link() {
  const accepted: Json[] = [];
  let crowded = true;
  let told: (() => void)[] = [];
  const stream = (): MuxStream =>
    ({
      closed: false,
      get crowded() {
        return crowded;
      },
      room: () => new Promise<void>((resolve) => told.push(resolve)),
      accept: (answer: Json) => {
        accepted.push(answer);
        crowded = true;
      },
    }) as unknown as MuxStream;
  const room = (): void => {
    crowded = false;
    const waiting = told;
    told = [];
    for (const resolve of waiting) resolve();
  };
  return { accepted, stream, room };
}

const large = (n: number): Json => ({ n, entries: ['x'.repeat(500_000)] });
const settle = async (): Promise<void> => await new Promise((resolve) => setImmediate(resolve));

test('large answers wait for room on a crowded link, one after the other; small ones do not', async () => {
  const { accepted, stream, room } = link();
  const answers = new LinkRoom();
  const waits = [1, 2].map((n) => answers.accept(stream(), 'a', large(n)));
  expect(answers.accept(stream(), 'a', { n: 3 })).toBeUndefined();
  const order = (): unknown[] => accepted.map(({ n }) => n);
  expect(order()).toEqual([3]);
  room();
  await settle();
  expect(order()).toEqual([3, 1]);
  room();
  for (const wait of waits) await wait;
  expect(order()).toEqual([3, 1, 2]);
});

test('what a tenant lets wait is bounded, other tenants have their own bound, and what is sent frees it', async () => {
  const { stream, room } = link();
  const answers = new LinkRoom();
  let waiting = 0;
  const fill = (): void => {
    for (; waiting < 1_000; waiting++) void answers.accept(stream(), 'a', large(waiting));
  };
  expect(fill).toThrow(expect.objectContaining({ code: 'rate_limited' }));
  expect(waiting).toBeGreaterThan(100);
  void answers.accept(stream(), 'b', large(0));
  room();
  await settle();
  void answers.accept(stream(), 'a', large(0));
  expect(fill).toThrow(expect.objectContaining({ code: 'rate_limited' }));
});

test('a crowded link takes some events of each tenant, and more as time passes', () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  try {
    const room = new LinkRoom();
    const event = { type: 'change', path: 'x'.repeat(100_000) };
    const taken = (tenant: string): number => {
      let count = 0;
      while (room.takes(tenant, event)) count += 1;
      return count;
    };
    expect([taken('a'), taken('a'), taken('b')]).toEqual([10, 0, 10]);
    vi.advanceTimersByTime(300);
    expect(taken('a')).toBe(3);
  } finally {
    vi.useRealTimers();
  }
});
