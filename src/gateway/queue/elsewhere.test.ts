import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { silent } from '../../lib/logger.ts';
import type { SandboxRecord } from '../../protocol/node.ts';
import { Elsewhere } from './elsewhere.ts';
import type { Known } from './known-queue.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

/** An older ticket, and what a younger one must leave a place for while others hold the older one. */
function start() {
  const record = (id: string) => ({ id, tenant: 't' }) as SandboxRecord;
  const older = { id: 'older', tenant: 't', priority: 0, weight: 1, record: record('older') } satisfies Known;
  let holder: string | undefined;
  let waits = true;
  const elsewhere = new Elsewhere({
    log: silent,
    known: { get: () => (waits ? older : undefined) } as never,
    tickets: { held: () => Promise.resolve(new Map(holder === undefined ? [] : [['older', holder]])) } as never,
  });
  return {
    /** @param by whose lock Redis shows */
    look: async (by: string | undefined, { again = false } = {}): Promise<string[]> => {
      holder = by;
      if (!again) elsewhere.startRound();
      await elsewhere.look('t', [older]);
      return elsewhere.before(record('younger')).map(({ id }) => id);
    },
    /** Within the same round. */
    placed: (): string[] => {
      waits = false;
      return elsewhere.before(record('younger')).map(({ id }) => id);
    },
  };
}

test('a ticket that is held leaves its place to others after a while, for as long as it is', async () => {
  const { look } = start();
  expect(await look('one')).toEqual(['older']);
  vi.advanceTimersByTime(1_900);
  expect(await look('one')).toEqual(['older']);
  for (const ms of [200, 1_000, 60_000]) {
    vi.advanceTimersByTime(ms);
    expect(await look('one')).toEqual([]);
  }
});

test('so does one that is taken and put back again and again', async () => {
  const { look } = start();
  expect(await look('take-0')).toEqual(['older']);
  for (let i = 1; i < 10; i++) {
    vi.advanceTimersByTime(1_000);
    expect(await look(`take-${i}`)).toEqual(i < 2 ? ['older'] : []);
  }
});

test('one that is held again much later has its place kept again', async () => {
  const { look } = start();
  expect(await look('one')).toEqual(['older']);
  expect(await look(undefined)).toEqual([]);
  vi.advanceTimersByTime(60_000);
  expect(await look('two')).toEqual(['older']);
  vi.advanceTimersByTime(2_100);
  expect(await look('two')).toEqual([]);
});

test('one that was put back or placed within a round keeps no place any more', async () => {
  const { look, placed } = start();
  expect(await look('one')).toEqual(['older']);
  expect(await look(undefined, { again: true })).toEqual([]);
  expect(await look('two', { again: true })).toEqual(['older']);
  expect(placed()).toEqual([]);
});
