/** At start-up, removes what an earlier agent of this data directory left half-finished: processes, cgroups, files. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { namesIn } from '../../../src/lib/names-in.ts';
import type { Boxes } from './boxes.ts';
import { allBoxGroups, possibleGroups, removeOldNurseries } from './box-groups.ts';
import type { CgroupTree } from './cgroup-tree.ts';
import { endGroup, endProcesses } from './ending.ts';
import type { Place } from './place.ts';
import type { RuntimeCli } from './runtime-cli.ts';

/**
 * Started boxes are not touched, dead or alive: they are listed and left for adoption. Boxes that were never started
 * are known to nothing else.
 * @throws Error if a directory cannot be read.
 */
export async function sweep(deps: { place: Place; boxes: Boxes; tree: CgroupTree; cli: RuntimeCli }): Promise<void> {
  const { place, boxes, tree, cli } = deps;
  for (const id of boxes.ids().filter((each) => !boxes.wasStarted(each))) {
    for (const group of possibleGroups(tree, place, id)) await endProcesses(tree, group, undefined);
    await boxes.remove(id);
  }
  const known = new Set(boxes.ids());
  await Promise.all(
    allBoxGroups(tree, place)
      .filter(({ id }) => !known.has(id))
      .map(async ({ group }) => {
        await endProcesses(tree, group, undefined);
        await endGroup(tree, group);
      }),
  );
  removeOldNurseries(tree, place);
  for (const id of await cli.remembered()) if (!known.has(id)) await cli.forget(id);
  const nurseries = join(place.ociDir, 'nurseries');
  for (const name of await namesIn(nurseries)) {
    await rm(join(nurseries, name), { recursive: true, force: true });
  }
}
