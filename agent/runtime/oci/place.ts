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
  boxinitPath: string;
  /** What is ours below the data directory. */
  ociDir: string;
  /** The root of every blank: mount points, and nothing else. Shared by all, read-only. */
  rootDir: string;
  seccomp: Seccomp;
  /** The control group of this agent, without a leading slash. */
  group: string;
  boxGroup(id: string): string;
  /** A path below the directories of data or images as a blank sees it. */
  inside(path: string): string;
}

export function makePlace(options: Pick<Place, 'dataDir' | 'imagesDir' | 'boxinitPath' | 'seccomp'>): Place {
  const { dataDir, imagesDir } = options;
  const ociDir = join(dataDir, 'oci');
  const rootDir = join(ociDir, 'root');
  for (const name of ['proc', 'sys', 'dev', INSIDE.root, INSIDE.data, INSIDE.images]) {
    mkdirSync(join(rootDir, name), { recursive: true, mode: 0o755 });
  }
  closeSync(openSync(join(rootDir, INSIDE.boxinit), 'a', 0o755));
  const group = `${GROUP}/${createHash('sha256').update(dataDir).digest('hex').slice(0, 12)}`;
  return {
    ...options,
    ociDir,
    rootDir,
    group,
    boxGroup: (id) => `${group}/${id}`,
    inside: (path) => {
      if (path.startsWith(`${imagesDir}/`)) return join(INSIDE.images, path.slice(imagesDir.length));
      if (path.startsWith(`${dataDir}/`)) return join(INSIDE.data, path.slice(dataDir.length));
      throw new ServiceError('internal', `${path} is not below the data directory`);
    },
  };
}
