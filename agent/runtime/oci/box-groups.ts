/**
 * The control groups of an agent's containers. Those that the OCI runtime starts one by one have theirs in one group, those
 * of a nursery in a group of that nursery's own. A new nursery never gets a group with others in it: version 2 takes no
 * process into a group that hands controllers down, and a runtime that fails to start a container kills all that is in
 * the container's group and below.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { groupsBelow, makeGroup, removeGroupIfEmpty, type CgroupTree } from './cgroup-tree.ts';
import type { Place } from './place.ts';

const NURSERY_ID = /^nursery-[0-9a-f]+$/;
/** Of the nursery itself, beside those of its blanks. */
const ITS_OWN = 'nursery';

/**
 * Lets the group, which a nursery was started in, hold those of blanks. What the runtime allows it of devices stays with the
 * group and is true for all below.
 * @throws Error of the file system when the nursery has ended.
 */
export function settleNursery(tree: CgroupTree, group: string, pid: number): void {
  // In version 2 a group that hands controllers down has no processes of its own.
  if (tree.version === 1) return;
  const own = `${group}/${ITS_OWN}`;
  makeGroup(tree, own);
  writeFileSync(join(tree.controllers.memory, own, 'cgroup.procs'), String(pid));
  makeGroup(tree, own);
}

/** Where a container that is known only by its id may have its group. */
export function possibleGroups(tree: CgroupTree, place: Place, id: string): string[] {
  return parents(tree, place).map((parent) => `${parent}/${id}`);
}

/** All groups of containers that there are, of this agent and of those before it. */
export function allBoxGroups(tree: CgroupTree, place: Place): { id: string; group: string }[] {
  return parents(tree, place).flatMap((parent) =>
    groupsBelow(tree, parent)
      // That of a nursery goes with its process, which ends by itself when its agent is gone.
      .filter((id) => id !== ITS_OWN)
      .map((id) => ({ id, group: `${parent}/${id}` })),
  );
}

/** Of nurseries that have ended, the groups that no blank is in any more. */
export function removeOldNurseries(tree: CgroupTree, place: Place): void {
  for (const parent of parents(tree, place)) if (parent !== place.boxesGroup) removeParent(tree, parent);
}

/**
 * Of an agent that leaves nothing, whichever its runtime: containers that live on keep their groups, and with them those
 * above. `group`: the agent's.
 */
export function removeAgentGroups(tree: CgroupTree, group: string): void {
  for (const name of groupsBelow(tree, group)) removeParent(tree, `${group}/${name}`);
  removeGroupIfEmpty(tree, group);
}

function removeParent(tree: CgroupTree, parent: string): void {
  removeGroupIfEmpty(tree, `${parent}/${ITS_OWN}`);
  removeGroupIfEmpty(tree, parent);
}

function parents(tree: CgroupTree, place: Place): string[] {
  return groupsBelow(tree, place.group)
    .map((name) => `${place.group}/${name}`)
    .filter((group) => group === place.boxesGroup || NURSERY_ID.test(group.slice(place.group.length + 1)));
}
