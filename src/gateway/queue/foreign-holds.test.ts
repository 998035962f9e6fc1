import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { silent } from '../../lib/logger.ts';
import type { SandboxRecord } from '../../protocol/node.ts';
import { ForeignHolds } from './foreign-holds.ts';
import type { QueueEntry } from './queue-view.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

/**
 * An older ticket, and which tickets a younger one must reserve a place for while other gateways hold the older one.
 */
function start() {
  const record = (id: string) => ({ id, tenant: 't' }) as SandboxRecord;
  const older = { id: 'older', tenant: 't', priority: 0, weight: 1, record: record('older') } satisfies QueueEntry;
  let holder: string | undefined;
  let waits = true;
  const elsewhere = new ForeignHolds({
    log: silent,
    view: { get: () => (waits ? older : undefined) } as never,
    tickets: { held: () => Promise.resolve(new Map(holder === undefined ? [] : [['older', holder]])) } as never,
  });
  return {
    /** @param by the holder that Redis reports */
    look: async (by: string | undefined, { again = false } = {}): Promise<string[]> => {
      holder = by;
      if (!again) elsewhere.startRound();
      await elsewhere.refresh('t', [older]);
      return elsewhere.before(record('younger')).map(({ id }) => id);
    },
    /** Within the same round. */
    placed: (): string[] => {
      waits = false;
      return elsewhere.before(record('younger')).map(({ id }) => id);
    },
  };
}

test('a held ticket gives up its place to others after a while, for as long as it stays held', async () => {
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

test('one that is held again much later has its place reserved again', async () => {
  const { look } = start();
  expect(await look('one')).toEqual(['older']);
  expect(await look(undefined)).toEqual([]);
  vi.advanceTimersByTime(60_000);
  expect(await look('two')).toEqual(['older']);
  vi.advanceTimersByTime(2_100);
  expect(await look('two')).toEqual([]);
});

test('one that was put back or placed within a round reserves no place any more', async () => {
  const { look, placed } = start();
  expect(await look('one')).toEqual(['older']);
  expect(await look(undefined, { again: true })).toEqual([]);
  expect(await look('two', { again: true })).toEqual(['older']);
  expect(placed()).toEqual([]);
});
