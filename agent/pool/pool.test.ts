import { expect, test } from 'vitest';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { Launched } from './launcher.ts';
import { Pool } from './pool.ts';

const LIMITS = { cpus: 1, memoryMb: 64, diskMb: null, pidsLimit: 64 };
const newPool = (floor = 0): Pool =>
  new Pool({ key: 'key', image: undefined, limits: LIMITS, network: 'off', bounds: { floor, ceiling: 10 } });
const launched = (id: string): Launched =>
  ({ container: { id, imageId: null }, link: { events: {}, connected: true } }) as unknown as Launched;
const ignore = (): void => undefined;

test('a pool is empty, and may be forgotten, only without containers, starts and claims', async () => {
  const pool = newPool();
  expect(pool.empty).toBe(true);
  pool.startBegins();
  expect(pool.empty).toBe(false);
  pool.startFailed(new Error('it failed'), 0, 0);
  expect(pool.empty).toBe(true);
  pool.adopt(launched('a'), ignore);
  expect([pool.empty, pool.owns('a'), pool.owns('b')]).toEqual([false, true, false]);
  expect(pool.remove('a')).toBeDefined();
  expect(pool.empty).toBe(true);
  const abort = new AbortController();
  const claim = pool.wait(abort.signal, 0);
  expect(pool.empty).toBe(false);
  abort.abort(new ServiceError('cancelled'));
  await expect(claim).rejects.toMatchObject({ code: 'cancelled' });
  expect(pool.empty).toBe(true);
});

test('starts that will serve claims count for no refill, and none is begun soon after one has failed', () => {
  const pool = newPool(3);
  expect(pool.deficit(0)).toBe(3);
  pool.adopt(launched('a'), ignore);
  pool.startBegins();
  expect(pool.deficit(0)).toBe(1);
  const served = pool.wait(new AbortController().signal, 0);
  expect([pool.deficit(0), pool.unserved()]).toEqual([2, 0]);
  pool.startSucceeded(launched('b'), 1, ignore);
  expect([pool.deficit(0), pool.unserved()]).toEqual([2, 0]);
  // Each consecutive failure doubles the pause, up to a minute.
  for (const pauseMs of [500, 1_000, 2_000]) {
    pool.startBegins();
    pool.startFailed(new Error('it failed'), 0, 0);
    expect([pool.deficit(pauseMs - 1), pool.deficit(pauseMs)]).toEqual([0, 2]);
  }
  for (let i = 0; i < 20; i += 1) {
    pool.startBegins();
    pool.startFailed(new Error('it failed'), 0, 0);
  }
  expect([pool.deficit(59_999), pool.deficit(60_000)]).toEqual([0, 2]);
  pool.startBegins();
  pool.startSucceeded(launched('c'), 1, ignore);
  expect(pool.deficit(0)).toBe(1);
  pool.startBegins();
  pool.startFailed(new Error('it failed'), 0, 0);
  expect([pool.deficit(499), pool.deficit(500)]).toEqual([0, 1]);
  return served;
});

test('a claim fails with its third failed start; starts begun before its last failure count as part of it', async () => {
  const pool = newPool();
  const claim = pool.wait(new AbortController().signal, 0);
  const failed = expect(claim).rejects.toMatchObject({ code: 'internal' });
  const fails = (nowMs: number, tookMs: number): void => {
    pool.startBegins();
    pool.startFailed(new Error('it failed'), nowMs, tookMs);
  };
  fails(100, 50);
  fails(110, 50);
  fails(200, 100);
  expect(pool.waitingSince).toBe(0);
  fails(300, 50);
  await failed;
  expect(pool.waitingSince).toBe(Infinity);
});

test('a pool is known by a bounded number of names, and by when one was last requested', () => {
  const pool = newPool();
  for (let at = 1; at <= 40; at += 1) pool.noteUse(`name-${at}`, at);
  expect([...pool.names]).toEqual(Array.from({ length: 16 }, (_, i) => `name-${i + 1}`));
  expect(pool.usedAtMs).toBe(40);
});

test("a container that has lost its boxinit is not handed out, and is still the pool's when that is reported", () => {
  const pool = newPool();
  const told = { disconnected: ignore };
  const [lost, next] = [launched('a'), launched('b')];
  for (const each of [lost, next]) pool.adopt(each, () => (each.link.events = told));
  Object.assign(lost.link, { connected: false });
  expect(pool.take()).toBe(next);
  expect(pool.take()).toBeUndefined();
  expect(lost.link.events).toBe(told);
  expect(pool.remove('a')).toBe(lost);
});

test('surplus containers are released one at a time, the oldest first', () => {
  const pool = newPool(1);
  for (const id of ['a', 'b']) pool.adopt(launched(id), ignore);
  expect(pool.surplus(0)?.container.id).toBe('a');
  expect(pool.surplus(0)).toBeUndefined();
});
