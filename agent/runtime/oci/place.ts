/** Where everything of one agent is: told from another agent's by its data directory. */
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { ServiceError } from '../../../src/protocol/errors.ts';
import type { Seccomp } from './seccomp.ts';
import { INSIDE } from './spec.ts';

/** Of all agents, in every hierarchy of control groups. */
const GROUP = 'millibox';

export interface Place {
  dataDir: string;
  /** Images of this node, each unpacked. */
  imagesDir: string;
  /** A shared mount point, through which blanks are handed file systems of a size. */
  disksDir: string;
  boxinitPath: string;
  /** What is ours below the data directory. */
  ociDir: string;
  /** The root of every blank: mount points, and nothing else. Shared by all, read-only. */
  rootDir: string;
  seccomp: Seccomp;
  /** Tells this agent's things from another's. */
  tag: string;
  /** The control group of this agent, without a leading slash. */
  group: string;
  /** The group that holds those of containers that the runtime starts one by one. */
  boxesGroup: string;
  /** Of such a container. */
  boxGroup(id: string): string;
  /** Of a nursery; it holds those of its blanks. */
  nurseryGroup(id: string): string;
  /** A path below the directories of data or images as a blank sees it. */
  inside(path: string): string;
}

/** Tells an agent's things from another's. */
export const tagOf = (dataDir: string): string => createHash('sha256').update(dataDir).digest('hex').slice(0, 12);

/** The control group of an agent, without a leading slash. */
export const agentGroup = (dataDir: string): string => `${GROUP}/${tagOf(dataDir)}`;

export const ociDirOf = (dataDir: string): string => join(dataDir, 'oci');

export function makePlace(
  options: Pick<Place, 'dataDir' | 'imagesDir' | 'disksDir' | 'boxinitPath' | 'seccomp'>,
): Place {
  const { dataDir, imagesDir, disksDir } = options;
  const ociDir = ociDirOf(dataDir);
  const rootDir = join(ociDir, 'root');
  for (const name of ['proc', 'sys', 'dev', INSIDE.root, INSIDE.data, INSIDE.images, INSIDE.disks, INSIDE.groups]) {
    mkdirSync(join(rootDir, name), { recursive: true, mode: 0o755 });
  }
  closeSync(openSync(join(rootDir, INSIDE.boxinit), 'a', 0o755));
  const tag = tagOf(dataDir);
  const group = agentGroup(dataDir);
  const boxesGroup = `${group}/boxes`;
  return {
    ...options,
    ociDir,
    rootDir,
    tag,
    group,
    boxesGroup,
    boxGroup: (id) => `${boxesGroup}/${id}`,
    nurseryGroup: (id) => `${group}/${id}`,
    inside: (path) => {
      if (path.startsWith(`${imagesDir}/`)) return join(INSIDE.images, path.slice(imagesDir.length));
      if (path.startsWith(`${disksDir}/`)) return join(INSIDE.disks, path.slice(disksDir.length));
      if (path.startsWith(`${dataDir}/`)) return join(INSIDE.data, path.slice(dataDir.length));
      throw new ServiceError('internal', `${path} is not below the data directory`);
    },
  };
}
