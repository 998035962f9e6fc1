import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { countOomKills } from './oom-count.ts';

const PID = 4_242;
const CONTAINER = '/system.slice/docker-0123.scope';

let roots: { processes: string; groups: string };
beforeEach(() => {
  const root = mkdtempSync(path.join(tmpdir(), 'mbx-oom-'));
  roots = { processes: path.join(root, 'proc'), groups: path.join(root, 'cgroup') };
});
afterEach(() => rmSync(path.dirname(roots.groups), { recursive: true, force: true }));

function write(file: string, ...lines: string[]): void {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, `${lines.join('\n')}\n`);
}
const inGroups = (...lines: string[]): void => write(path.join(roots.processes, String(PID), 'cgroup'), ...lines);
const group = (file: string, ...lines: string[]): void => write(path.join(roots.groups, file), ...lines);

test('cgroup v2, managed by systemd or by the engine itself', async () => {
  for (const container of [CONTAINER, '/docker/0123']) {
    inGroups(`0::${container}`);
    group(`${container}/memory.events`, 'low 0', 'high 0', 'max 17', 'oom 3', 'oom_kill 2', 'oom_group_kill 9');
    expect(await countOomKills(PID, roots)).toBe(2);
  }
});

test('cgroup v1, alone or in a shared hierarchy, with an empty v2 beside it', async () => {
  inGroups('9:cpu,memory:/docker/0123', '1:name=systemd:/docker/0123', '0::/docker/0123');
  group('memory/docker/0123/memory.oom_control', 'oom_kill_disable 0', 'under_oom 0', 'oom_kill 1');
  expect(await countOomKills(PID, roots)).toBe(1);
});

test('cgroup v2 for memory, with v1 for other controllers', async () => {
  inGroups(`1:name=systemd:${CONTAINER}`, `0::${CONTAINER}`);
  group(`unified${CONTAINER}/memory.events`, 'oom_kill 4');
  expect(await countOomKills(PID, roots)).toBe(4);
});

test('a vanished process, a kernel without a count, and a private cgroup view are unknown', async () => {
  expect(await countOomKills(PID, roots)).toBeUndefined();
  inGroups(`0::${CONTAINER}`);
  expect(await countOomKills(PID, roots)).toBeUndefined();
  group(`${CONTAINER}/memory.events`, 'oom 3');
  expect(await countOomKills(PID, roots)).toBeUndefined();
  // As a private view shows other groups.
  inGroups('0::/../docker-0123.scope');
  group('../docker-0123.scope/memory.events', 'oom_kill 5');
  expect(await countOomKills(PID, roots)).toBeUndefined();
});

test('an unreadable count does not pass for zero', async () => {
  inGroups(`0::${CONTAINER}`);
  // Reading a directory as a file fails.
  mkdirSync(path.join(roots.groups, CONTAINER, 'memory.events'), { recursive: true });
  await expect(countOomKills(PID, roots)).rejects.toThrow('EISDIR');
});
