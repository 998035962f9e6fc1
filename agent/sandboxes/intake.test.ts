import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silent } from '../../src/lib/logger.ts';
import { until } from '../testing/harness.ts';
import { Intake } from './intake.ts';

let dataDir: string;
let changes: number;
let overdue: number;
const opened: Intake[] = [];
beforeEach(() => {
  dataDir = mkdtempSync(path.join(tmpdir(), 'mbx-intake-'));
  changes = overdue = 0;
});
afterEach(() => {
  for (const intake of opened.splice(0)) intake.close();
  rmSync(dataDir, { recursive: true });
});

function open(): Intake {
  const intake = new Intake({ dataDir, log: silent, changed: () => (changes += 1), overdue: () => (overdue += 1) });
  opened.push(intake);
  intake.begin();
  return intake;
}

test('cordon and drain survive a restart of the agent, until they are undone', () => {
  const first = open();
  expect(first.open).toBe(true);
  first.cordon(true);
  first.drain(true, 3_600_000);
  const second = open();
  expect(second.state).toEqual(first.state);
  expect(second.state).toMatchObject({ cordoned: true, draining: true });
  second.drain(false);
  expect(open().state).toEqual({ cordoned: true, draining: false, deadlineAtMs: null });
  second.cordon(false);
  expect(open().open).toBe(true);
  expect(changes).toBeGreaterThanOrEqual(4);
  expect(overdue).toBe(0);
});

test('a deadline passes once, even if it passed while no agent was running', async () => {
  const first = open();
  first.drain(true, 30);
  first.close();
  await new Promise((resolve) => setTimeout(resolve, 60));
  expect(overdue).toBe(0);
  open();
  await until('the deadline is over', () => overdue === 1);
});

test('a drain that is undone or prolonged does not hit its first deadline', async () => {
  const intake = open();
  intake.drain(true, 50);
  intake.drain(true, 3_600_000);
  intake.drain(true, 50);
  intake.drain(false);
  await new Promise((resolve) => setTimeout(resolve, 150));
  expect(overdue).toBe(0);
});

test('an unreadable file keeps the node closed', () => {
  const file = path.join(dataDir, 'intake.json');
  writeFileSync(file, '{"cord');
  expect(open().state).toEqual({ cordoned: true, draining: false, deadlineAtMs: null });
  rmSync(file);
  // Stands in for any file system error other than ENOENT.
  mkdirSync(file);
  expect(open().state).toEqual({ cordoned: true, draining: false, deadlineAtMs: null });
});
