import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { OomKills, Sandbox } from '../sandboxes/sandbox.ts';
import { wasOomKill } from './oom-kills.ts';

const sandbox = (oomKills: OomKills = { attributed: 0, exits: [] }): Sandbox =>
  ({ containerId: 'c', oomKills, ended: false }) as unknown as Sandbox;
const counted = (kills: number) => ({ oomKills: () => Promise.resolve(kills) });
const fails = (): Promise<number> => Promise.reject(new Error('the engine is starting'));
const down = { oomKills: fails };

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('an exit that is sent again is the same, whatever was killed meanwhile', async () => {
  const box = sandbox();
  expect(await wasOomKill(box, 'a', counted(0))).toBe(false);
  expect(await wasOomKill(box, 'b', counted(1))).toBe(true);
  expect(await wasOomKill(box, 'b', counted(1))).toBe(true);
  expect(await wasOomKill(box, 'a', counted(2))).toBe(false);
  expect(await wasOomKill(box, 'c', counted(2))).toBe(true);
  expect(await wasOomKill(sandbox(), 'b', counted(0))).toBe(false);
});

test('an exit that several readers get at the same time takes one kill', async () => {
  const box = sandbox();
  const both = await Promise.all([wasOomKill(box, 'a', counted(1)), wasOomKill(box, 'a', counted(1))]);
  expect([...both, await wasOomKill(box, 'b', counted(1))]).toEqual([true, true, false]);
});

test('a count that fails is asked for again', async () => {
  const oomKills = vi.fn(fails).mockImplementationOnce(fails).mockImplementationOnce(fails).mockResolvedValue(1);
  const told = wasOomKill(sandbox(), 'a', { oomKills });
  await vi.runAllTimersAsync();
  expect(await told).toBe(true);
});

test('a count that fails, or takes too long, is not reported as known', async () => {
  for (const hooks of [down, { oomKills: () => new Promise<number>(() => undefined) }]) {
    const box = sandbox();
    const told = wasOomKill(box, 'a', hooks);
    await vi.runAllTimersAsync();
    expect(await told).toBeUndefined();
    expect(await wasOomKill(box, 'a', counted(1))).toBe(true);
  }
});

test('the count of a sandbox that has ended is not waited for', async () => {
  const box = sandbox();
  const told = wasOomKill(box, 'a', down);
  Object.assign(box, { ended: true });
  await vi.advanceTimersByTimeAsync(1_000);
  expect(await told).toBeUndefined();
});

test('only the latest exits are remembered', async () => {
  const box = sandbox();
  for (let i = 0; i <= 5_000; i++) await wasOomKill(box, `exit ${i}`, counted(0));
  expect(await wasOomKill(box, 'exit 5000', counted(1))).toBe(false);
  expect(await wasOomKill(box, 'exit 0', counted(1))).toBe(true);
});

test('the next agent neither reports a kill again, nor misses one, nor takes an exit that was one for another', async () => {
  const kept: OomKills[] = [];
  const hooks = (kills: number) => ({
    ...counted(kills),
    attributed: (each: Sandbox) => void kept.push(each.oomKills),
  });
  const before = sandbox();
  expect(await wasOomKill(before, 'by hand', hooks(0))).toBe(false);
  expect(await wasOomKill(before, 'oom', hooks(1))).toBe(true);
  expect(kept).toHaveLength(1);

  const after = sandbox(kept[0]);
  expect(await wasOomKill(after, 'by hand later', hooks(1))).toBe(false);
  expect(await wasOomKill(after, 'oom', hooks(1))).toBe(true);
  expect(await wasOomKill(after, 'oom while none was there', hooks(2))).toBe(true);
});

test('only the latest kills are kept for the next agent, but all are counted', async () => {
  const box = sandbox();
  for (let i = 1; i <= 200; i++) expect(await wasOomKill(box, `exit ${i}`, counted(i))).toBe(true);
  expect(box.oomKills.attributed).toBe(200);
  expect(box.oomKills.exits.length).toBeLessThan(100);
  expect(box.oomKills.exits.at(-1)).toBe('exit 200');
});
