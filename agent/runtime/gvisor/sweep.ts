/** What an earlier agent of this data directory was killed in the middle of. */
import type { Boxes } from '../oci/boxes.ts';
import { groupsBelow, type CgroupTree } from '../oci/cgroup-tree.ts';
import { endGroup, endProcesses } from '../oci/ending.ts';

/** Ends what runs in groups of no box, and removes them. Of those with a box, whoever knows the sandboxes decides. */
export async function sweep(deps: { boxes: Boxes; tree: CgroupTree; group: string }): Promise<void> {
  const { boxes, tree, group } = deps;
  const known = new Set(boxes.ids());
  for (const id of groupsBelow(tree, group).filter((each) => !known.has(each))) {
    await endProcesses(tree, `${group}/${id}`, undefined);
    await endGroup(tree, `${group}/${id}`);
  }
}
