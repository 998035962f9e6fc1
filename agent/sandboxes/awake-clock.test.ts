import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { silent } from '../../src/lib/logger.ts';
import { AwakeClock } from './awake-clock.ts';

let dataDir: string;
beforeEach(() => {
  vi.useFakeTimers();
  dataDir = mkdtempSync(path.join(tmpdir(), 'mbx-'));
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(dataDir, { recursive: true, force: true });
});

test('across graceful restarts, only the time during which an agent ran counts', () => {
  for (let start = 0; start < 5; start++) {
    const clock = new AwakeClock(dataDir, silent);
    expect(clock.nowMs).toBe(start * 2_000);
    vi.advanceTimersByTime(2_000);
    clock.close();
    vi.advanceTimersByTime(9_000);
  }
});

test('after a kill, the time since the last note counts too, since the agent may have lived that long', () => {
  new AwakeClock(dataDir, silent);
  vi.clearAllTimers();
  vi.advanceTimersByTime(4_000);
  const next = new AwakeClock(dataDir, silent);
  expect(next.nowMs).toBe(4_000);
  next.close();
});
