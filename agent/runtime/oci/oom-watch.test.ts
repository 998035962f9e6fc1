import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { silent } from '../../../src/lib/logger.ts';
import { OomWatch } from './oom-watch.ts';

let kills: Map<string, number>;
let watch: OomWatch;
/** How many more reads will fail. */
let refusals: number;
let logged: number;

/** As the system refuses a read when no descriptor is free. */
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

test('an exit counts as an OOM kill if one was counted near it, not long before', async () => {
  for (const id of ['a', 'b', 'c']) watch.watch(id, 0);
  kills.set('a', 1).set('b', 1);
  await vi.advanceTimersByTimeAsync(60_000);
  kills.set('b', 2);
  expect([await watch.killedNearEnd('a'), await watch.killedNearEnd('b'), await watch.killedNearEnd('c')]).toEqual([
    false,
    true,
    false,
  ]);
});

test('a kill counted before the exit was noticed is near it', async () => {
  watch.watch('a', 0);
  kills.set('a', 1);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(await watch.killedNearEnd('a')).toBe(true);
});

test('a kill long before the exit is not near it, even with a thousand containers watched', async () => {
  for (let i = 0; i < 1_000; i += 1) watch.watch(`box-${i}`, 0);
  // The first has just been read, so its turn is as far away as possible.
  await vi.advanceTimersByTimeAsync(200);
  kills.set('box-0', 1);
  await vi.advanceTimersByTimeAsync(20_000);
  expect(await watch.killedNearEnd('box-0')).toBe(false);
});

test("the first kills counted in an earlier agent's container are past, and later ones are not", async () => {
  for (const id of ['a', 'b']) {
    kills.set(id, 3);
    watch.watch(id);
  }
  await vi.advanceTimersByTimeAsync(1_000);
  kills.set('b', 4);
  expect([await watch.killedNearEnd('a'), await watch.killedNearEnd('b')]).toEqual([false, true]);
});

test('a container forgotten during its first count is not watched afterwards', async () => {
  watch.watch('a');
  watch.forget('a');
  await vi.advanceTimersByTimeAsync(1_000);
  expect(vi.getTimerCount()).toBe(0);
});

test('kills under an earlier agent are past, for any number of containers', async () => {
  const ids = Array.from({ length: 100 }, (_, i) => `box-${i}`);
  for (const id of ids) {
    kills.set(id, 3);
    watch.watch(id, 3);
  }
  kills.set('box-7', 4);
  await vi.advanceTimersByTimeAsync(60_000);
  const near = await Promise.all(ids.map((id) => watch.killedNearEnd(id)));
  expect(near.filter(Boolean)).toEqual([]);
  watch.forget('box-7');
  expect(await watch.count('box-7')).toBe(4);
});

test('a count that cannot be read in its turn is logged at debug level', async () => {
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

test('a count that is unreadable for a moment is read again, and does not pass for no kill', async () => {
  watch.watch('a', 0);
  kills.set('a', 1);
  refusals = 2;
  const [counted, ended] = [watch.count('a'), watch.killedNearEnd('a')];
  await vi.advanceTimersByTimeAsync(1_000);
  expect([await counted, await ended, logged]).toEqual([1, true, 0]);
});

test('a count that stays unreadable is logged, and an exit reports only what was known before', async () => {
  for (const id of ['a', 'b']) watch.watch(id, 0);
  kills.set('a', 1);
  await vi.advanceTimersByTimeAsync(1_000);
  refusals = Infinity;
  const [counted, ...ended] = [
    watch.count('a').catch((error: unknown) => error),
    watch.killedNearEnd('a'),
    watch.killedNearEnd('b'),
  ];
  await vi.advanceTimersByTimeAsync(5_000);
  expect([await counted, ...(await Promise.all(ended))]).toEqual([NO_DESCRIPTOR, true, null]);
  expect(logged).toBe(3);
});

test("an earlier agent's count that is unreadable at first is past once it is read, even if nobody asks", async () => {
  kills.set('a', 3);
  refusals = 1;
  watch.watch('a');
  await vi.advanceTimersByTimeAsync(1_000);
  expect(await watch.killedNearEnd('a')).toBe(false);
  kills.set('a', 4);
  expect(await watch.killedNearEnd('a')).toBe(true);
});
