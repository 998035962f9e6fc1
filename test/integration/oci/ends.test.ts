/** What is reported about the exit of a sandbox's init process. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Bench, run } from '../../../agent/runtime/contract/subject.ts';
import { killPid } from '../../../agent/runtime/oci/pids.ts';
import { until } from '../../helpers/until.ts';
import { ociSubject, processOf } from './subject.ts';

const LIMIT_MS = 60_000;
/** More than what counts as near the exit. */
const LONG_MS = 12_000;

test('it is an OOM kill if a program was OOM-killed shortly before, not if that was long ago', async () => {
  await using bench = await Bench.open(ociSubject());
  const [before, near] = [await bench.claimed(), await bench.claimed()];
  const ended = new Map<string, boolean | null>();
  bench.runtime.onExit((id, { oomKilled }) => ended.set(id, oomKilled));
  const want = async ({ link, container }: typeof before): Promise<void> => {
    const hog = 'my @all; push @all, "x" x 1048576 while 1';
    expect((await run(link, ['perl', '-e', hog])).exit.signal).toBe('KILL');
    expect(await bench.runtime.oomKills(container.id)).toBeGreaterThan(0);
  };
  await want(before);
  await sleep(LONG_MS);
  await want(near);
  for (const { container } of [before, near]) killPid(processOf(bench.runtime, container.id).pid);
  await until(() => ended.size === 2, LIMIT_MS, 'both ends to be told');
  expect([ended.get(before.container.id), ended.get(near.container.id)]).toEqual([false, true]);
});
