/** Images for runtime tests, from the set-up's files: no registry is contacted. */
import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { setupImage } from '../../src/cli/config.ts';
import { boxinitPath } from '../../src/cli/up/parts.ts';

const run = promisify(execFile);

/** The set-up's base image, which is in Docker wherever there is Docker. */
export function baseImage(): string {
  const image = setupImage();
  if (image === undefined) throw new Error('there is no base image; `npm run setup` makes it');
  return image.ref;
}

/**
 * A root file system, as a tar, with one static program, `/true`, and nothing else: no shell, no users, no directories.
 * The caller disposes of it.
 */
export async function bareTar(): Promise<{ tar: string; dispose(): void }> {
  const home = mkdtempSync(path.join(tmpdir(), 'mbx-image-'));
  const root = path.join(home, 'root');
  mkdirSync(root);
  copyFileSync(path.join(path.dirname(boxinitPath()), 'millibox-true'), path.join(root, 'true'));
  const tar = path.join(home, 'root.tar');
  await run('tar', ['-C', root, '--owner=0', '--group=0', '--numeric-owner', '-cf', tar, 'true']);
  return { tar, dispose: () => rmSync(home, { recursive: true, force: true }) };
}

/** That image in the local Docker engine, under a unique name. The caller disposes of it. */
export async function bareImageInDocker(): Promise<{ ref: string; dispose(): Promise<void> }> {
  const { tar, dispose } = await bareTar();
  const ref = `millibox/test-bare:${process.pid}-${Date.now()}`;
  try {
    await run('docker', ['import', '-c', 'ENV FROM_IMAGE=yes', tar, ref]);
  } finally {
    dispose();
  }
  return {
    ref,
    dispose: async () => {
      await run('docker', ['rmi', '-f', ref]);
    },
  };
}
