/** Cleans up what an earlier agent of this data directory left half-finished. */
import type { Boxes } from '../oci/boxes.ts';
import { groupsBelow, type CgroupTree } from '../oci/cgroup-tree.ts';
import { endGroup, endProcesses } from '../oci/ending.ts';

/** Kills everything in cgroups without a box, and removes them. Those with a box are left for adoption. */
export async function sweep(deps: { boxes: Boxes; tree: CgroupTree; group: string }): Promise<void> {
  const { boxes, tree, group } = deps;
  const known = new Set(boxes.ids());
  for (const id of groupsBelow(tree, group).filter((each) => !known.has(each))) {
    await endProcesses(tree, `${group}/${id}`, undefined);
    await endGroup(tree, `${group}/${id}`);
  }
}
