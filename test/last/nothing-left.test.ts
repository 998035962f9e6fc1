/** After the whole run, nothing of it is left on the machine. Other users' processes are ignored. */
import { describe, expect, test } from 'vitest';
import { testRun } from '../helpers/config.ts';
import { notedDataDirs, notedNamespaces } from '../helpers/data-dirs.ts';
import { LEFTOVERS, ownFamily, type Run } from '../helpers/leftovers.ts';

const { directory } = testRun();
/** The kernel and the engine take a moment to release what was ended last. */
const LIMIT = { timeout: 40_000, interval: 500 };

describe.skipIf(directory === undefined)('after the run there is', { timeout: 90_000 }, () => {
  const path = directory as string;
  const run: Run = {
    path,
    dataDirs: () => notedDataDirs(path),
    namespaces: () => notedNamespaces(path),
    except: ownFamily(),
  };

  test.each(LEFTOVERS)('no $what of it', async ({ find }) => {
    await expect.poll(() => find(run), LIMIT).toEqual([]);
  });
});
