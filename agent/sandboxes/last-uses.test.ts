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

/** What an agent knows about one sandbox, and what it writes. `noted` was written by its predecessor. */
function agent(noted: number | null = null) {
  const spec = newSpec({ idleTimeoutMs: HOUR });
  const sandbox = new Sandbox(spec, { ...newRecord(spec, Date.now()), status: 'RUNNING' });
  sandbox.usedUntilMs = noted;
  const saved: (number | null)[] = [];
  const its: NodeJS.Timeout[] = [];
  // Not a spy: restoring one after the file would restore the fake clock of these tests.
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

test('a sandbox without an idle timeout costs no writes', () => {
  const { sandbox, uses, saved } = agent();
  if (sandbox.spec !== null) sandbox.spec.idleTimeoutMs = null;
  uses.used(sandbox);
  uses.close();
  expect(saved).toEqual([]);
});

test('across graceful restarts, idle time adds up exactly', () => {
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
    // Each start counts up to ten seconds of absence, for the predecessor's time after its last note.
    expect(next.sandbox.idleMs).toBeGreaterThanOrEqual(life * 60 * SECOND);
    expect(next.sandbox.idleMs).toBeLessThanOrEqual(life * 70 * SECOND);
    next.uses.close();
    noted = next.saved.at(-1) ?? noted;
  }
});

test('across kills within seconds of each start, idle time still adds up', () => {
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

test('a sandbox used right before a crash does not count as idle, however long it was unused before', () => {
  const first = agent();
  first.uses.used(first.sandbox);
  vi.advanceTimersByTime(HOUR / 2);
  first.uses.used(first.sandbox);
  vi.advanceTimersByTime(SECOND);
  expect(agent(first.kill()).sandbox.idleMs).toBe(0);
});

test('a call that has long been open counts as use until the crash', () => {
  const first = agent();
  first.sandbox.callBegins();
  first.uses.used(first.sandbox);
  vi.advanceTimersByTime(HOUR);
  expect(first.saved.length).toBeLessThan(400);
  expect(agent(first.kill()).sandbox.idleMs).toBe(0);
});

test("an agent's long absence ends no sandbox", () => {
  const first = agent();
  first.uses.used(first.sandbox);
  first.uses.close();
  const noted = first.sandbox.usedUntilMs;
  vi.advanceTimersByTime(10 * HOUR);
  expect(agent(noted).sandbox.idleMs).toBeLessThan(60 * SECOND);
});
