/**
 * Turning archives into directory trees that sandboxes share read-only. Archives are hostile: whatever unpacks one runs
 * in a mount namespace in which nothing but its own input and output exists.
 */
import { constants } from 'node:fs';
import { access, mkdir } from 'node:fs/promises';
import { ServiceError } from '../../src/protocol/errors.ts';
import { runTool } from './run-tool.ts';

const UNPACK_MS = 30 * 60_000;

/** The programs' own file system, read-only, and nothing else of the host's. */
const JAIL = [
  '--unshare-ipc',
  '--unshare-pid',
  '--unshare-net',
  '--unshare-uts',
  '--die-with-parent',
  '--ro-bind', '/usr', '/usr',
  '--symlink', 'usr/bin', '/bin',
  '--symlink', 'usr/lib', '/lib',
  '--symlink', 'usr/lib64', '/lib64',
  '--proc', '/proc',
  '--dev', '/dev',
  '--tmpfs', '/tmp',
  // Owners, capabilities and device-less special files of the image are made as they are.
  '--cap-add', 'CAP_CHOWN',
  '--cap-add', 'CAP_DAC_OVERRIDE',
  '--cap-add', 'CAP_FOWNER',
  '--cap-add', 'CAP_FSETID',
  '--cap-add', 'CAP_MKNOD',
  '--cap-add', 'CAP_SETFCAP',
  '--cap-add', 'CAP_SYS_ADMIN',
]; // prettier-ignore

/** Unpacks all layers of the image in an OCI layout into `root` (made here): whiteouts, hard links and xattrs applied. */
export async function unpackLayout(layout: string, root: string, signal?: AbortSignal): Promise<void> {
  await mkdir(root, { recursive: true });
  await inJail(
    ['--ro-bind', layout, '/layout', '--bind', root, '/root'],
    ['umoci', 'raw', 'unpack', '--image', '/layout:image', '/root/fs'],
    signal,
  );
}

/** Unpacks a root file system given as one tar, compressed or not. */
export async function unpackTar(tar: string, root: string, signal?: AbortSignal): Promise<void> {
  await mkdir(`${root}/fs`, { recursive: true });
  await inJail(
    ['--ro-bind', tar, '/rootfs.tar', '--bind', root, '/root'],
    [
      'tar',
      '--extract',
      '--file=/rootfs.tar',
      '--directory=/root/fs',
      '--numeric-owner',
      '--same-owner',
      '--same-permissions',
      '--xattrs',
      '--xattrs-include=*',
    ],
    signal,
  );
}

async function inJail(binds: readonly string[], command: readonly string[], signal?: AbortSignal): Promise<void> {
  try {
    await access('/usr/bin/bwrap', constants.X_OK);
    await runTool('bwrap', [...JAIL, ...binds, '--', ...command], { deadlineMs: UNPACK_MS, signal });
  } catch (error) {
    if (error instanceof ServiceError) throw error;
    throw new ServiceError('image_invalid', 'the image could not be unpacked', { cause: error });
  }
}
