/** After the whole run: nothing of it is left on the machine. What others have running is not looked at. */
import { readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { testRun } from '../helpers/config.ts';
import { notedDataDirs } from '../helpers/data-dirs.ts';
import {
  leftContainers,
  leftGroups,
  leftLoopDevices,
  leftMounts,
  leftNetworks,
  leftProcesses,
  leftSockets,
  ownFamily,
} from '../helpers/leftovers.ts';

const { directory } = testRun();
/** The kernel and an engine take a moment to let go of what was ended last. */
const LIMIT = { timeout: 40_000, interval: 500 };

describe.skipIf(directory === undefined)('after the run there is', { timeout: 90_000 }, () => {
  const path = directory as string;

  test('no container of it', async () => {
    await expect.poll(() => leftContainers(path), LIMIT).toEqual([]);
  });

  test('no process of it', async () => {
    const family = ownFamily();
    await expect.poll(() => leftProcesses(path, family), LIMIT).toEqual([]);
  });

  test('no mount of it', async () => {
    await expect.poll(() => leftMounts(path), LIMIT).toEqual([]);
  });

  test('no unix socket of it', async () => {
    await expect.poll(() => leftSockets(path), LIMIT).toEqual([]);
  });

  test('no control group of its agents', async () => {
    await expect.poll(() => leftGroups(notedDataDirs(path)), LIMIT).toEqual([]);
  });

  test('no bridge and no firewall table of its agents', async () => {
    await expect.poll(() => leftNetworks(notedDataDirs(path)), LIMIT).toEqual([]);
  });

  test('no loop device of it', async () => {
    await expect.poll(() => leftLoopDevices(path), LIMIT).toEqual([]);
  });

  test('no file of it but the results of the run', () => {
    const left = readdirSync(path).filter((name) => !/\.(ndjson|log)$/.test(name));
    // Node's and the runner's own caches.
    expect(left.filter((name) => !/^(node-compile-cache|vitest|v8-compile|rustc|tsx)/.test(name))).toEqual([]);
  });
});
