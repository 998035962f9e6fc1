/** A container is destroyed while it is being claimed, or claimed twice. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Bench, run } from '../../../agent/runtime/contract/subject.ts';
import { codeOf } from '../../../agent/testing/code-of.ts';
import { leftLoopDevices, leftMounts } from '../../helpers/leftovers.ts';
import { until } from '../../helpers/until.ts';
import { ociSubject } from './subject.ts';

const LIMIT_MS = 60_000;
const limits = { cpus: 1, memoryMb: 64, diskMb: 8, pidsLimit: 64 };

test('a claim with a disk that is cancelled at any moment leaves no disk', async () => {
  let dataDir = '';
  {
    await using bench = await Bench.open(ociSubject());
    dataDir = bench.dataDir;
    // The first creates the empty file system that the others copy.
    await bench.claimed({ limits });
    await Promise.all(
      [0, 1, 3, 10, 20, 30, 50, 80, 120, 200].map(async (afterMs) => {
        const launched = await bench.launch();
        const claim = bench.claim(launched, { limits }).then(
          () => 'claimed',
          () => 'failed',
        );
        await sleep(afterMs);
        await bench.launcher.discard(launched.container.id, launched.link);
        await claim;
        expect(await bench.exists(launched.container.id)).toBe(false);
      }),
    );
    const mounts = leftMounts(dataDir).filter((line) => / ext4 /.test(line) && line.includes('/disks/'));
    expect(mounts.filter((line) => line.includes('loop'))).toEqual([]);
  }
  await until(async () => (await leftLoopDevices(dataDir)).length === 0, LIMIT_MS, 'the loop devices to go');
  expect(leftMounts(dataDir)).toEqual([]);
});

test('concurrent claims and destroys do not interfere', async () => {
  await using bench = await Bench.open(ociSubject());
  await Promise.all(
    Array.from({ length: 24 }, async (_, at) => {
      const launched = await bench.claimed({ sandbox: `sbx-${at}` });
      expect((await run(launched.link, ['uname', '-n'])).stdout).toBe(`sbx-${at}\n`);
      if (at % 2 === 0) await bench.launcher.discard(launched.container.id, launched.link);
    }),
  );
  expect((await bench.runtime.list()).filter(({ running }) => running)).toHaveLength(12);
});

test('a claimed container is not given to another sandbox, whose destruction does it no harm', async () => {
  await using bench = await Bench.open(ociSubject());
  const launched = await bench.launch();
  const claims = ['sbx-one', 'sbx-other'].map((sandbox) => codeOf(bench.claim(launched, { sandbox })));
  expect(await Promise.all(claims)).toEqual(['no error', 'internal']);
  expect(await codeOf(bench.claim(launched, { sandbox: 'sbx-third' }))).toBe('internal');
  expect((await run(launched.link, ['uname', '-n'])).stdout).toBe('sbx-one\n');
});
