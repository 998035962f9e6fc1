import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Turns, type Turn } from './turns.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const turns = (atOnce = 2): Turns =>
  new Turns({ atOnce, aside: 2, slowBytesPerSecond: 1_000, slowMs: 10_000, longMs: 60_000 });

interface Taken {
  turn: Turn | undefined;
  /** `waits`, `works`, `done`, or its error message. */
  state: string;
  end(): void;
  abort: AbortController;
}

/** Takes a turn and holds it until `end` is called or its signal fires. */
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

test('a fixed number hold a turn at once, and the next in line follows the first to finish', async () => {
  const from = turns();
  const [first, ...rest] = [take(from), take(from), take(from), take(from)];
  await later(0);
  expect(states(rest)).toEqual(['works', 'waits', 'waits']);
  first.end();
  await later(0);
  expect(states(rest)).toEqual(['works', 'works', 'waits']);
});

test('a turn lasts as long as the work takes while nobody waits', async () => {
  const from = turns(1);
  const only = take(from);
  await later(3_600);
  expect(only.state).toBe('works');
  only.end();
  const next = take(from);
  await later(0);
  expect(next.state).toBe('works');
});

test('a waiter that leaves the queue is skipped', async () => {
  const from = turns(1);
  const [first, second, third] = [take(from), take(from), take(from)];
  second.abort.abort(new Error('left'));
  first.end();
  await later(0);
  expect(states([first, second, third])).toEqual(['done', 'left', 'works']);
});

test('tenants take turns, so a tenant with a long queue delays nobody by more than one of its own', async () => {
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

test('work that several tenants wait for runs when it is the turn of any of them', async () => {
  const from = turns(1);
  const [first, second, third] = [take(from, 'many'), take(from, 'many'), take(from, 'many')];
  const shared = take(from, 'many', 'few');
  first.end();
  await later(0);
  second.end();
  await later(0);
  expect(states([second, third, shared])).toEqual(['done', 'waits', 'works']);
});

test('slow work loses its turn and continues once others wait, fast work only after a long time', async () => {
  const from = turns();
  const [slow, fast] = [take(from), take(from)];
  await later(0);
  fast.turn?.received(1e9);
  const [third, fourth] = [take(from), take(from)];
  await later(11);
  third.turn?.received(1e9);
  expect(states([slow, fast, third, fourth])).toEqual(['works', 'works', 'works', 'waits']);
  await later(50);
  expect(fourth.state).toBe('works');
  // Work that has already lost its turn has none to pass on.
  const fifth = take(from);
  slow.end();
  fast.end();
  await later(0);
  expect(states([slow, fast, fifth])).toEqual(['done', 'done', 'waits']);
});

test('when too many continue without a turn, the slowest is aborted and the queue moves on', async () => {
  const from = turns(1);
  const all = Array.from({ length: 4 }, () => take(from));
  for (const [i, each] of all.entries()) {
    // However many are slow, the next one waits for one such turn at most.
    await later(i === 0 ? 0 : 11);
    each.turn?.received([9_000, 0, 8_000, 7_000][i] ?? 0);
  }
  expect(states(all)).toEqual(['works', 'too slow', 'works', 'works']);
});

test('work that is not slow is never aborted for others, who wait', async () => {
  const from = turns(1);
  const long = [take(from), take(from), take(from)];
  for (const each of long) {
    await later(61);
    each.turn?.received(Infinity);
  }
  const waits = take(from);
  await later(3_600);
  expect(states([...long, waits])).toEqual(['works', 'works', 'works', 'waits']);
  long[0]?.end();
  await later(2);
  expect(waits.state).toBe('works');
});
