/** Where everything of one agent is: told from another agent's by its data directory. */
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { makeGroup, type CgroupTree } from './cgroup-tree.ts';
import type { Seccomp } from './seccomp.ts';
import { INSIDE } from './spec.ts';

/** Of all agents, in every hierarchy of control groups. */
const GROUP = 'millibox';

export interface Place {
  dataDir: string;
  /** Images of this node, each unpacked. */
  imagesDir: string;
  boxinitPath: string;
  /** What is ours below the data directory. */
  ociDir: string;
  /** The root of every blank: mount points, and nothing else. Shared by all, read-only. */
  rootDir: string;
  seccomp: Seccomp;
  /** The control group of this agent, without a leading slash. */
  group: string;
  /** The group that holds those of all containers. */
  boxesGroup: string;
  boxGroup(id: string): string;
  /** Moves a nursery out of the way of its blanks' groups, where that matters. */
  settle(tree: CgroupTree, nursery: number): void;
  /** A path below the directories of data or images as a blank sees it. */
  inside(path: string): string;
}

export function makePlace(options: Pick<Place, 'dataDir' | 'imagesDir' | 'boxinitPath' | 'seccomp'>): Place {
  const { dataDir, imagesDir } = options;
  const ociDir = join(dataDir, 'oci');
  const rootDir = join(ociDir, 'root');
  for (const name of ['proc', 'sys', 'dev', INSIDE.root, INSIDE.data, INSIDE.images, INSIDE.groups]) {
    mkdirSync(join(rootDir, name), { recursive: true, mode: 0o755 });
  }
  closeSync(openSync(join(rootDir, INSIDE.boxinit), 'a', 0o755));
  const group = `${GROUP}/${createHash('sha256').update(dataDir).digest('hex').slice(0, 12)}`;
  const boxesGroup = `${group}/boxes`;
  return {
    ...options,
    ociDir,
    rootDir,
    group,
    boxesGroup,
    boxGroup: (id) => `${boxesGroup}/${id}`,
    settle: (tree, nursery) => {
      // In version 2 a group that hands controllers down has no processes of its own.
      if (tree.version === 1) return;
      makeGroup(tree, `${boxesGroup}/nursery`);
      writeFileSync(join(tree.controllers.memory, boxesGroup, 'nursery', 'cgroup.procs'), String(nursery));
      makeGroup(tree, `${boxesGroup}/nursery`);
    },
    inside: (path) => {
      if (path.startsWith(`${imagesDir}/`)) return join(INSIDE.images, path.slice(imagesDir.length));
      if (path.startsWith(`${dataDir}/`)) return join(INSIDE.data, path.slice(dataDir.length));
      throw new ServiceError('internal', `${path} is not below the data directory`);
    },
  };
}
