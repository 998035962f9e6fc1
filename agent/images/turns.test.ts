import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Turns, type Turn } from './turns.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const turns = (atOnce = 2): Turns =>
  new Turns({ atOnce, aside: 2, slowBytesPerSecond: 1_000, slowMs: 10_000, longMs: 60_000 });

interface Taken {
  turn: Turn | undefined;
  /** `waits`, `works`, `done`, or the message of its error. */
  state: string;
  end(): void;
  abort: AbortController;
}

/** Takes a turn and keeps it until it is ended or its signal fires. */
function take(from: Turns, ...tenants: string[]): Taken {
  const abort = new AbortController();
  const end = Promise.withResolvers<void>();
  const taken: Taken = { turn: undefined, state: 'waits', end: end.resolve, abort };
  const tooSlow = (): Error => new Error('too slow');
  from
    .take(
      { signal: abort.signal, tenants: () => new Set(tenants.length > 0 ? tenants : ['']), tooSlow },
      async (turn) => {
        Object.assign(taken, { turn, state: 'works' });
        turn.signal.addEventListener('abort', () => end.reject(turn.signal.reason as Error));
        await end.promise;
      },
    )
    .then(
      () => (taken.state = 'done'),
      (error: unknown) => (taken.state = (error as Error).message),
    );
  return taken;
}

const later = async (seconds: number): Promise<void> => void (await vi.advanceTimersByTimeAsync(seconds * 1_000));
const states = (all: readonly Taken[]): string[] => all.map(({ state }) => state);

test('a fixed number have a turn at once; the next in line follows the first that is done', async () => {
  const from = turns();
  const [first, ...rest] = [take(from), take(from), take(from), take(from)];
  await later(0);
  expect(states(rest)).toEqual(['works', 'waits', 'waits']);
  first.end();
  await later(0);
  expect(states(rest)).toEqual(['works', 'works', 'waits']);
});

test('a turn without others in line lasts as long as it takes', async () => {
  const from = turns(1);
  const only = take(from);
  await later(3_600);
  expect(only.state).toBe('works');
  only.end();
  const next = take(from);
  await later(0);
  expect(next.state).toBe('works');
});

test('a waiter that leaves the line is passed over', async () => {
  const from = turns(1);
  const [first, second, third] = [take(from), take(from), take(from)];
  second.abort.abort(new Error('left'));
  first.end();
  await later(0);
  expect(states([first, second, third])).toEqual(['done', 'left', 'works']);
});

test('tenants take turns: one with much in line keeps nobody waiting for more than one of its own', async () => {
  const from = turns(1);
  const many = Array.from({ length: 6 }, () => take(from, 'many'));
  const few = [take(from, 'few'), take(from, 'few')];
  const all = [...many, ...few];
  const order: number[] = [];
  for (let done = 0; done < all.length; done += 1) {
    await later(0);
    const works = all.findIndex(({ state }) => state === 'works');
    order.push(works);
    all[works]?.end();
  }
  expect(order).toEqual([0, 1, 6, 2, 7, 3, 4, 5]);
});

test('work that several tenants wait for is done when it is the turn of any of them', async () => {
  const from = turns(1);
  const [first, second, third] = [take(from, 'many'), take(from, 'many'), take(from, 'many')];
  const shared = take(from, 'many', 'few');
  first.end();
  await later(0);
  second.end();
  await later(0);
  expect(states([second, third, shared])).toEqual(['done', 'waits', 'works']);
});

test('a slow one goes on beside the turns once others wait, a fast one only after long', async () => {
  const from = turns();
  const [slow, fast] = [take(from), take(from)];
  await later(0);
  fast.turn?.brought(1e9);
  const [third, fourth] = [take(from), take(from)];
  await later(11);
  third.turn?.brought(1e9);
  expect(states([slow, fast, third, fourth])).toEqual(['works', 'works', 'works', 'waits']);
  await later(50);
  expect(fourth.state).toBe('works');
  // What goes on beside the turns has none to pass on.
  const fifth = take(from);
  slow.end();
  fast.end();
  await later(0);
  expect(states([slow, fast, fifth])).toEqual(['done', 'done', 'waits']);
});

test('with no place left beside the turns, the slowest of all ends, and the line moves on', async () => {
  const from = turns(1);
  const all = Array.from({ length: 4 }, () => take(from));
  for (const [i, each] of all.entries()) {
    // However many are slow, the next one waits for no more than one such turn.
    await later(i === 0 ? 0 : 11);
    each.turn?.brought([9_000, 0, 8_000, 7_000][i] ?? 0);
  }
  expect(states(all)).toEqual(['works', 'too slow', 'works', 'works']);
});

test('none that is not slow ends for the others: they wait', async () => {
  const from = turns(1);
  const long = [take(from), take(from), take(from)];
  for (const each of long) {
    await later(61);
    each.turn?.brought(Infinity);
  }
  const waits = take(from);
  await later(3_600);
  expect(states([...long, waits])).toEqual(['works', 'works', 'works', 'waits']);
  long[0]?.end();
  await later(2);
  expect(waits.state).toBe('works');
});
