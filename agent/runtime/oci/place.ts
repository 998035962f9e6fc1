/** One agent's directories, cgroups and names, all derived from its data directory. */
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { ServiceError } from '../../../src/protocol/errors.ts';
import type { Seccomp } from './seccomp.ts';
import { INSIDE } from './spec.ts';

/** The parent cgroup of all agents, in every hierarchy. */
const GROUP = 'millibox';

export interface Place {
  dataDir: string;
  /** The node's unpacked images. */
  imagesDir: string;
  /** A shared mount point through which blanks get their size-limited disks. */
  disksDir: string;
  boxinitPath: string;
  /** The runtime's part of the data directory. */
  ociDir: string;
  /** The root of every blank: mount points only, shared read-only. */
  rootDir: string;
  seccomp: Seccomp;
  /** Distinguishes this agent's names from those of others. */
  tag: string;
  /** This agent's cgroup, without a leading slash. */
  group: string;
  /** Parent cgroup of the containers that the runtime starts itself. */
  boxesGroup: string;
  /** The cgroup of such a container. */
  boxGroup(id: string): string;
  /** The cgroup of a nursery, parent of its blanks' groups. */
  nurseryGroup(id: string): string;
  /** A path below the data or image directories, as seen by a blank. */
  inside(path: string): string;
}

/** Distinguishes an agent's names from those of others. */
export const tagOf = (dataDir: string): string => createHash('sha256').update(dataDir).digest('hex').slice(0, 12);

/** An agent's cgroup, without a leading slash. */
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
