/** What a later agent of the same directory finds of gVisor's containers, and what it cleans up. */
import { expect, test, vi } from 'vitest';
import { ContainerHomes } from '../../../agent/pool/container-homes.ts';
import { Launcher } from '../../../agent/pool/launcher.ts';
import { Bench, LIMITS, run } from '../../../agent/runtime/contract/subject.ts';
import { silent } from '../../../src/lib/logger.ts';
import { leftGroups, leftLoopDevices, leftMounts, leftProcesses, ownFamily } from '../../helpers/leftovers.ts';
import { until } from '../../helpers/until.ts';
import { gvisorSubject } from './subject.ts';

const LIMIT_MS = 60_000;

test("a later agent talks to an earlier one's boxinit, and can destroy it with everything it had", async () => {
  const family = ownFamily();
  await using bench = await Bench.open(gvisorSubject());
  const { dataDir } = bench;
  const { container, link } = await bench.claimed({ limits: { ...LIMITS, diskMb: 16 } });
  await run(link, ['sh', '-c', 'echo kept >/kept']);
  // As when it is killed: nothing is cleaned up, and nobody listens.
  link.close();

  const later = await gvisorSubject().open(dataDir);
  expect(await later.list()).toEqual([{ id: container.id, running: true, imageId: bench.image.id }]);
  const homes = new ContainerHomes(dataDir);
  const launcher = new Launcher(later, homes, silent);
  const stored = await homes.read(container.id);
  if (stored === undefined) throw new Error('its home is gone');
  const again = await launcher.relisten(stored.meta);
  await launcher.readopt(again, AbortSignal.timeout(LIMIT_MS));
  expect((await run(again.link, ['cat', '/kept'])).stdout).toBe('kept\n');

  await launcher.discard(container.id, again.link);
  expect(await later.list()).toEqual([]);
  await later.close();
  await until(async () => (await leftLoopDevices(dataDir)).length === 0, LIMIT_MS, 'the loop device to go');
  expect(leftMounts(dataDir)).toEqual([]);
  // The helper that removes directories has been killed, and may be seen a moment longer.
  await vi.waitFor(() => expect(leftProcesses(dataDir, family)).toEqual([]), { timeout: LIMIT_MS });
  expect(leftGroups([dataDir])).toEqual([]);
});
