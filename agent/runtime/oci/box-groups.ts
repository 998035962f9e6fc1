/**
 * The cgroups of an agent's containers. Containers started by the OCI runtime itself are below one group, those of a
 * nursery below that nursery's own. A new nursery never gets a group with others in it, for two reasons: cgroup v2
 * accepts no process in a group that passes controllers down, and a runtime that fails to start a container kills
 * everything in the container's group and below.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { groupsBelow, makeGroup, removeGroupIfEmpty, type CgroupTree } from './cgroup-tree.ts';
import type { Place } from './place.ts';

const NURSERY_ID = /^nursery-[0-9a-f]+$/;
/** The nursery's own group, a sibling of its blanks' groups. */
const ITS_OWN = 'nursery';

/**
 * Moves a nursery out of the group it was started in, so that this group can hold those of blanks. The runtime's device
 * rules stay with the group and apply to everything below.
 * @throws Error from the file system if the nursery has exited.
 */
export function settleNursery(tree: CgroupTree, group: string, pid: number): void {
  // In v2, a group that passes controllers down may have no processes of its own.
  if (tree.version === 1) return;
  const own = `${group}/${ITS_OWN}`;
  makeGroup(tree, own);
  writeFileSync(join(tree.controllers.memory, own, 'cgroup.procs'), String(pid));
  makeGroup(tree, own);
}

/** All groups that a container with this id may be in. */
export function possibleGroups(tree: CgroupTree, place: Place, id: string): string[] {
  return parents(tree, place).map((parent) => `${parent}/${id}`);
}

/** All existing groups of containers, of this agent and of earlier ones. */
export function allBoxGroups(tree: CgroupTree, place: Place): { id: string; group: string }[] {
  return parents(tree, place).flatMap((parent) =>
    groupsBelow(tree, parent)
      // A nursery's own group is removed with its process, which exits when its agent is gone.
      .filter((id) => id !== ITS_OWN)
      .map((id) => ({ id, group: `${parent}/${id}` })),
  );
}

/** Removes the groups of exited nurseries that no blank uses any more. */
export function removeOldNurseries(tree: CgroupTree, place: Place): void {
  for (const parent of parents(tree, place)) if (parent !== place.boxesGroup) removeParent(tree, parent);
}

/**
 * Removes an agent's groups, with any runtime. Containers that continue keep their groups and those above.
 * `group`: the agent's.
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
