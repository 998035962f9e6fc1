import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { silent } from '../../../src/lib/logger.ts';
import { OomWatch } from './oom-watch.ts';

let kills: Map<string, number>;
let watch: OomWatch;
/** How many more times nothing can be read. */
let refusals: number;
let logged: number;

/** As the system refuses a read for which no descriptor is free. */
const NO_DESCRIPTOR = Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE', syscall: 'open' });

function read(id: string): Promise<number> {
  refusals -= 1;
  return refusals >= 0 ? Promise.reject(NO_DESCRIPTOR) : Promise.resolve(kills.get(id) ?? 0);
}
beforeEach(() => {
  vi.useFakeTimers();
  kills = new Map();
  refusals = 0;
  logged = 0;
  watch = new OomWatch(read, { ...silent, error: () => void (logged += 1) });
});
afterEach(() => {
  watch.close();
  vi.useRealTimers();
});

test('an end is for want of memory if something was killed near it, not if that was long before', async () => {
  for (const id of ['a', 'b', 'c']) watch.watch(id, 0);
  kills.set('a', 1).set('b', 1);
  await vi.advanceTimersByTimeAsync(60_000);
  kills.set('b', 2);
  expect([await watch.ofEnd('a'), await watch.ofEnd('b'), await watch.ofEnd('c')]).toEqual([false, true, false]);
});

test('a kill that was counted before the end was seen is near it', async () => {
  watch.watch('a', 0);
  kills.set('a', 1);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(await watch.ofEnd('a')).toBe(true);
});

test('a kill that was long before the end is not near it, also where a thousand are watched', async () => {
  for (let i = 0; i < 1_000; i += 1) watch.watch(`box-${i}`, 0);
  // The first has been looked at, so its turn is as far away as it can be.
  await vi.advanceTimersByTimeAsync(200);
  kills.set('box-0', 1);
  await vi.advanceTimersByTimeAsync(20_000);
  expect(await watch.ofEnd('box-0')).toBe(false);
});

test("the kills that are counted first of an earlier agent's are of the past, and those after them are not", async () => {
  for (const id of ['a', 'b']) {
    kills.set(id, 3);
    watch.watch(id);
  }
  await vi.advanceTimersByTimeAsync(1_000);
  kills.set('b', 4);
  expect([await watch.ofEnd('a'), await watch.ofEnd('b')]).toEqual([false, true]);
});

test('one that is forgotten while it is counted for the first time is not watched after that', async () => {
  watch.watch('a');
  watch.forget('a');
  await vi.advanceTimersByTimeAsync(1_000);
  expect(vi.getTimerCount()).toBe(0);
});

test('kills under an earlier agent are of the past, also for many that are watched', async () => {
  const ids = Array.from({ length: 100 }, (_, i) => `box-${i}`);
  for (const id of ids) {
    kills.set(id, 3);
    watch.watch(id, 3);
  }
  kills.set('box-7', 4);
  await vi.advanceTimersByTimeAsync(60_000);
  const near = await Promise.all(ids.map((id) => watch.ofEnd(id)));
  expect(near.filter(Boolean)).toEqual([]);
  watch.forget('box-7');
  expect(await watch.count('box-7')).toBe(4);
});

test('a count that cannot be read in its turn is logged at debug', async () => {
  const debugged: object[] = [];
  const quiet = new OomWatch(() => Promise.reject(NO_DESCRIPTOR), {
    ...silent,
    debug: (fields) => void debugged.push(fields),
  });
  quiet.watch('a', 0);
  await vi.advanceTimersByTimeAsync(200);
  quiet.close();
  expect(debugged).toEqual([{ err: NO_DESCRIPTOR, container: 'a' }]);
});

test('a count that cannot be read for a moment is read again: it is not taken for no kill', async () => {
  watch.watch('a', 0);
  kills.set('a', 1);
  refusals = 2;
  const [counted, ended] = [watch.count('a'), watch.ofEnd('a')];
  await vi.advanceTimersByTimeAsync(1_000);
  expect([await counted, await ended, logged]).toEqual([1, true, 0]);
});

test('a count that cannot be read at all is logged, and an end reports only what was known before', async () => {
  for (const id of ['a', 'b']) watch.watch(id, 0);
  kills.set('a', 1);
  await vi.advanceTimersByTimeAsync(1_000);
  refusals = Infinity;
  const [counted, ...ended] = [watch.count('a').catch((error: unknown) => error), watch.ofEnd('a'), watch.ofEnd('b')];
  await vi.advanceTimersByTimeAsync(5_000);
  expect([await counted, ...(await Promise.all(ended))]).toEqual([NO_DESCRIPTOR, true, null]);
  expect(logged).toBe(3);
});

test("an earlier agent's that cannot be read at first is of the past once it can, also if nobody asks", async () => {
  kills.set('a', 3);
  refusals = 1;
  watch.watch('a');
  await vi.advanceTimersByTimeAsync(1_000);
  expect(await watch.ofEnd('a')).toBe(false);
  kills.set('a', 4);
  expect(await watch.ofEnd('a')).toBe(true);
});
