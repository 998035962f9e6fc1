import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { silent } from '../../src/lib/logger.ts';
import { newSpec } from '../testing/harness.ts';
import { LastUses } from './last-uses.ts';
import { Sandbox, newRecord } from './sandbox.ts';

const SECOND = 1_000;
const HOUR = 3_600 * SECOND;

let dataDir: string;
beforeEach(() => {
  vi.useFakeTimers();
  dataDir = mkdtempSync(path.join(tmpdir(), 'mbx-'));
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(dataDir, { recursive: true, force: true });
});

/** What an agent knows of one sandbox, and what it writes down. `noted` is what the one before it wrote. */
function agent(noted: number | null = null) {
  const spec = newSpec({ idleTimeoutMs: HOUR });
  const sandbox = new Sandbox(spec, { ...newRecord(spec, Date.now()), status: 'RUNNING' });
  sandbox.usedUntilMs = noted;
  const saved: (number | null)[] = [];
  const its: NodeJS.Timeout[] = [];
  // No spy: what that puts back after the file is the clock of these tests.
  const { setInterval: begin } = globalThis;
  globalThis.setInterval = ((...given: Parameters<typeof begin>) => {
    const timer = begin(...given);
    its.push(timer);
    return timer;
  }) as typeof begin;
  const uses = new LastUses({
    dataDir,
    living: () => [sandbox],
    save: (each) => void saved.push(each.usedUntilMs),
    log: silent,
  });
  globalThis.setInterval = begin;
  if (noted !== null) uses.resume(sandbox);
  /** Killed: nothing more is written. */
  const kill = (): number | null => {
    for (const timer of its) clearInterval(timer);
    return saved.at(-1) ?? noted;
  };
  return { sandbox, uses, saved, kill };
}

test('calls in quick succession cost one write', () => {
  const { sandbox, uses, saved } = agent();
  for (let i = 0; i < 1_000; i += 1) {
    uses.used(sandbox);
    vi.advanceTimersByTime(10);
  }
  expect(saved).toHaveLength(1);
});

test('a sandbox without an idle timeout costs none', () => {
  const { sandbox, uses, saved } = agent();
  if (sandbox.spec !== null) sandbox.spec.idleTimeoutMs = null;
  uses.used(sandbox);
  uses.close();
  expect(saved).toEqual([]);
});

test('under agents that stop in order, again and again, idle time adds up to what it was', () => {
  const first = agent();
  first.uses.used(first.sandbox);
  let noted = first.sandbox.usedUntilMs;
  first.uses.close();
  noted = first.saved.at(-1) ?? noted;
  for (let life = 1; life <= 20; life += 1) {
    // Nobody can use it while there is no agent.
    vi.advanceTimersByTime(9 * SECOND);
    const next = agent(noted);
    vi.advanceTimersByTime(60 * SECOND);
    // Each start takes up to ten seconds of absence for the unnoted end of its predecessor.
    expect(next.sandbox.idleMs).toBeGreaterThanOrEqual(life * 60 * SECOND);
    expect(next.sandbox.idleMs).toBeLessThanOrEqual(life * 70 * SECOND);
    next.uses.close();
    noted = next.saved.at(-1) ?? noted;
  }
});

test('under agents that are killed within seconds of their start, idle time adds up too', () => {
  const first = agent();
  first.uses.used(first.sandbox);
  let noted = first.kill();
  for (let life = 0; life < 100; life += 1) {
    const next = agent(noted);
    vi.advanceTimersByTime(3 * SECOND);
    noted = next.kill();
  }
  expect(agent(noted).sandbox.idleMs).toBeGreaterThan(250 * SECOND);
});

test('a sandbox that was used right before a crash does not count as idle, however long it had been unused before', () => {
  const first = agent();
  first.uses.used(first.sandbox);
  vi.advanceTimersByTime(HOUR / 2);
  first.uses.used(first.sandbox);
  vi.advanceTimersByTime(SECOND);
  expect(agent(first.kill()).sandbox.idleMs).toBe(0);
});

test('a call that has been open for long is use until the crash', () => {
  const first = agent();
  first.sandbox.callBegins();
  first.uses.used(first.sandbox);
  vi.advanceTimersByTime(HOUR);
  expect(first.saved.length).toBeLessThan(400);
  expect(agent(first.kill()).sandbox.idleMs).toBe(0);
});

test('an agent that was long away ends no sandbox for it', () => {
  const first = agent();
  first.uses.used(first.sandbox);
  first.uses.close();
  const noted = first.sandbox.usedUntilMs;
  vi.advanceTimersByTime(10 * HOUR);
  expect(agent(noted).sandbox.idleMs).toBeLessThan(60 * SECOND);
});
