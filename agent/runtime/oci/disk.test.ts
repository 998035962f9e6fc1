import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { ToolError } from '../../run-tool.ts';
import { diskError, mountPointsBelow } from './disk.ts';

const FAILED = 'the mount of a disk failed';

test('a disk for which the node has no room is told as that, and no failure names what is on the node', () => {
  const full = [
    new Error('cp: error writing /var/lib/millibox/oci/boxes/mbx-1/disk.ext4: No space left on device'),
    Object.assign(new Error("ENOSPC: no space left on device, mkdir '/var/lib/millibox'"), { code: 'ENOSPC' }),
    new ToolError('mkfs.ext4', 'status 1', 'mkfs.ext4: No space left on device while writing out /var/lib/x\n'),
    new ToolError('mkfs.ext4', 'status 1', 'Disk quota exceeded'),
  ];
  for (const cause of full) {
    const error = diskError(FAILED, cause);
    expect(error).toMatchObject({ code: 'capacity_exhausted', cause });
    expect(error.message).not.toContain('/');
  }
  const other = new Error('mount: /var/lib/x: failed to setup loop device');
  expect(diskError(FAILED, other)).toMatchObject({ code: 'internal', message: FAILED, cause: other });
  const typed = new ServiceError('deadline_exceeded');
  expect(diskError(FAILED, typed)).toBe(typed);
});

test('mounts of a directory that is reached by a link are found by the name that the kernel has', () => {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'mbx-disk-')));
  onTestFinished(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'real', 'd'), { recursive: true });
  symlinkSync('real', join(root, 'link'));
  const table = `30 20 0:26 / ${root}/real/d/a rw - ext4 /dev/loop0 rw`;
  expect(mountPointsBelow(join(root, 'link', 'd'), table)).toEqual([join(root, 'real', 'd', 'a')]);
});

test('mounts of a directory are its own and those below it, deepest first, and no neighbour', () => {
  const line = (point: string): string => `30 20 0:26 / ${point} rw - ext4 /dev/loop0 rw`;
  const table = ['/d', '/d/a', '/d/a/b', '/dd', '/d\\040x', '/d\\043\\134\\011', '/'].map(line).join('\n');
  expect(mountPointsBelow('/d', table)).toEqual(['/d/a/b', '/d/a', '/d']);
  expect(mountPointsBelow('/d x', table)).toEqual(['/d x']);
  expect(mountPointsBelow('/d#\\\t', table)).toEqual(['/d#\\\t']);
});
