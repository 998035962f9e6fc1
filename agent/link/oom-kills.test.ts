import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Sandbox } from '../sandboxes/sandbox.ts';
import { wasOomKill } from './oom-kills.ts';

const sandbox = (): Sandbox => ({ containerId: 'c', oomKillsSeen: 0, ended: false }) as unknown as Sandbox;
const counted = (kills: number) => () => Promise.resolve(kills);
const down = (): Promise<number> => Promise.reject(new Error('the engine is starting'));

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
  const count = vi.fn(down).mockImplementationOnce(down).mockImplementationOnce(down).mockResolvedValue(1);
  const told = wasOomKill(sandbox(), 'a', count);
  await vi.runAllTimersAsync();
  expect(await told).toBe(true);
});

test('a count that fails, or takes too long, is not reported as known', async () => {
  for (const count of [down, () => new Promise<number>(() => undefined)]) {
    const box = sandbox();
    const told = wasOomKill(box, 'a', count);
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
