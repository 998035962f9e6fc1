/** A store in its own directory, for one test. */
import { existsSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImageStore, type ImageStoreOptions } from '../../../agent/images/image-store.ts';
import { silent } from '../../../src/lib/logger.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';

export interface OwnStore {
  dir: string;
  store: ImageStore;
  /** Another store in the same directory, as after a restart. */
  again(options?: Partial<ImageStoreOptions>): Promise<ImageStore>;
  dispose(): Promise<void>;
}

export async function openStore(options: Partial<ImageStoreOptions> = {}): Promise<OwnStore> {
  const dir = mkdtempSync(join(tmpdir(), 'mbx-images-'));
  const open = (more: Partial<ImageStoreOptions> = {}): Promise<ImageStore> =>
    ImageStore.open({
      dir,
      registry: { mirrors: {}, insecure: [] },
      log: silent,
      ...options,
      ...more,
    });
  return {
    dir,
    store: await open(),
    again: open,
    dispose: () => rm(dir, { recursive: true, force: true, maxRetries: 10 }),
  };
}

/** The code of the error with which the work fails. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'no error';
  } catch (error) {
    return error instanceof ServiceError ? error.code : `not a ServiceError: ${String(error)}`;
  }
}

/** The directory tree of an image on this node. */
export function rootOf(store: ImageStore, ref: string): string {
  const image = store.get(ref);
  const [root] = image === undefined ? [] : store.layersOf(image);
  if (root === undefined) throw new Error(`${ref} is not here`);
  return root;
}

/** The required programs that are missing on this node; a node that runs sandboxes by `oci` has all of them. */
export function missing(programs: readonly string[]): string {
  if (process.getuid?.() !== 0) return 'root';
  const there = (name: string): boolean => ['/usr/bin', '/usr/sbin'].some((dir) => existsSync(join(dir, name)));
  return programs.filter((name) => !there(name)).join(', ');
}

export const lacking = missing(['skopeo', 'umoci', 'bwrap', 'docker-registry']);
/** For the name of a suite: says why it is skipped. */
export const because = lacking === '' ? '' : ` (skipped: there is no ${lacking})`;
