import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Json, MuxStream } from '../../src/mux/index.ts';
import type { NodeReport } from '../../src/protocol/node.ts';
import { watch } from './watch.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A gateway that watches, how often it was told of the node, and what tells the feed that its report has changed. */
async function watched(): Promise<{ reports: () => number; changed: (soon: boolean) => void; close: () => void }> {
  const events: Json[] = [];
  let listener: (soon: boolean) => void = () => undefined;
  const stream = {
    closed: false,
    accept: () => undefined,
    end: () => undefined,
    event: (one: Json) => events.push(one),
  };
  const handler = watch(stream as unknown as MuxStream, {
    report: () => ({ pools: [], images: [] }) as unknown as NodeReport,
    list: () => [],
    onChange: () => () => undefined,
    onReport: (given) => {
      listener = given;
      return () => undefined;
    },
  });
  // The snapshot comes first.
  await Promise.resolve();
  return {
    reports: () => events.filter(({ type }) => type === 'node').length,
    changed: (soon) => listener(soon),
    close: () => handler.closed?.(null),
  };
}

test('changes of the report are told once a second', async () => {
  const { reports, changed } = await watched();
  for (let ms = 0; ms < 2_500; ms += 10) {
    changed(false);
    vi.advanceTimersByTime(10);
  }
  expect(reports()).toBe(2);
});

test('one that somebody may wait for is told at once, and in place of the one that was due', async () => {
  const { reports, changed } = await watched();
  changed(false);
  changed(true);
  vi.advanceTimersByTime(1);
  expect(reports()).toBe(1);
  vi.advanceTimersByTime(5_000);
  expect(reports()).toBe(1);
});

test('however often somebody may wait, there are some twenty a second and no more', async () => {
  const { reports, changed } = await watched();
  for (let ms = 0; ms < 1_000; ms += 1) {
    changed(true);
    vi.advanceTimersByTime(1);
  }
  expect(reports()).toBeGreaterThanOrEqual(18);
  expect(reports()).toBeLessThanOrEqual(21);
});

test('nothing is told to one that has gone', async () => {
  const { reports, changed, close } = await watched();
  changed(true);
  close();
  vi.advanceTimersByTime(5_000);
  expect(reports()).toBe(0);
});
