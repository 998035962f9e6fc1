import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Json, MuxStream } from '../../src/mux/index.ts';
import { pendingRecord, type NodeReport, type SandboxRecord } from '../../src/protocol/node.ts';
import type { SandboxChange } from '../sandboxes/ledger.ts';
import { newSpec } from '../testing/harness.ts';
import { watch } from './watch.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

interface Watched {
  /** How many reports of the node the gateway has received. */
  reports(): number;
  /** All other events after the snapshot. */
  changes(): Json[];
  /** Signals a change of the report. */
  changed(soon: boolean): void;
  /** Signals a change of a sandbox. */
  emit(change: SandboxChange): void;
  /** Sets how many bytes are queued for the gateway. */
  lag(bytes: number): void;
  close(): void;
}

/** A gateway that watches. */
async function watched(): Promise<Watched> {
  const events: Json[] = [];
  let listener: (soon: boolean) => void = () => undefined;
  let emit: (change: SandboxChange) => void = () => undefined;
  const stream = {
    closed: false,
    backlog: 0,
    accept: () => undefined,
    end: () => undefined,
    event: (one: Json) => events.push(one),
  };
  const handler = watch(stream as unknown as MuxStream, {
    report: () => ({ pools: [], images: [] }) as unknown as NodeReport,
    list: () => [],
    onChange: (given) => {
      emit = given;
      return () => undefined;
    },
    onReport: (given) => {
      listener = given;
      return () => undefined;
    },
  });
  // The snapshot comes first.
  await Promise.resolve();
  return {
    reports: () => events.filter(({ type }) => type === 'node').length,
    changes: () => events.filter(({ type }) => type !== 'node' && type !== 'snapshot'),
    changed: (soon) => listener(soon),
    emit: (change) => emit(change),
    lag: (bytes) => (stream.backlog = bytes),
    close: () => handler.closed?.(null),
  };
}

test('report changes are sent once a second', async () => {
  const { reports, changed } = await watched();
  for (let ms = 0; ms < 2_500; ms += 10) {
    changed(false);
    vi.advanceTimersByTime(10);
  }
  expect(reports()).toBe(2);
});

test('a report that a caller may be waiting for is sent at once, in place of the one that was due', async () => {
  const { reports, changed } = await watched();
  changed(false);
  changed(true);
  vi.advanceTimersByTime(1);
  expect(reports()).toBe(1);
  vi.advanceTimersByTime(5_000);
  expect(reports()).toBe(1);
});

test('urgent reports are limited to about twenty a second', async () => {
  const { reports, changed } = await watched();
  for (let ms = 0; ms < 1_000; ms += 1) {
    changed(true);
    vi.advanceTimersByTime(1);
  }
  expect(reports()).toBeGreaterThanOrEqual(18);
  expect(reports()).toBeLessThanOrEqual(21);
});

test('nothing is sent to a gateway that has disconnected', async () => {
  const { reports, changed, close } = await watched();
  changed(true);
  close();
  vi.advanceTimersByTime(5_000);
  expect(reports()).toBe(0);
});

test('a slow gateway gets the latest state of each sandbox once it has caught up', async () => {
  const { changes, emit, lag } = await watched();
  const [first, second] = [pendingRecord(newSpec()), pendingRecord(newSpec())];
  lag(2 * 1024 * 1024);
  const newest = (record: SandboxRecord, at: number): SandboxRecord => ({ ...record, message: `change ${at}` });
  for (let at = 0; at < 100; at += 1) {
    emit({ type: 'changed', record: newest(first, at) });
    vi.advanceTimersByTime(7);
  }
  const ended = { ...newest(second, 0), endedAtMs: 1 };
  emit({ type: 'changed', record: ended });
  emit({ type: 'forgotten', id: 'old' });
  expect(changes()).toEqual([]);
  lag(0);
  vi.advanceTimersByTime(100);
  expect(changes()).toEqual([
    { type: 'sandbox', sandbox: newest(first, 99) },
    { type: 'sandbox', sandbox: ended },
    { type: 'forgotten', ids: ['old'] },
  ]);
  emit({ type: 'changed', record: newest(first, 100) });
  vi.advanceTimersByTime(1);
  expect(changes().length).toBe(4);
});

test('nothing is queued for a gateway that has disconnected', async () => {
  const { emit, lag, close } = await watched();
  lag(2 * 1024 * 1024);
  emit({ type: 'changed', record: pendingRecord(newSpec()) });
  vi.advanceTimersByTime(50);
  close();
  expect(vi.getTimerCount()).toBe(0);
});
