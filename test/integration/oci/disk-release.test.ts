/** A disk that stays mounted when it should be released keeps its files. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Disks, mountPointsBelow } from '../../../agent/runtime/oci/disk.ts';
import { leftLoopDevices } from '../../helpers/leftovers.ts';
import { until } from '../../helpers/until.ts';

const LIMIT_MS = 60_000;
let dir: string;
let disks: Disks;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'mbx-disks-'));
  disks = await Disks.open(dir);
});
afterAll(async () => {
  await disks.close(true);
  await until(() => mountPointsBelow(dir).length === 0, LIMIT_MS, 'the mounts to go');
  await until(async () => (await leftLoopDevices(dir)).length === 0, LIMIT_MS, 'the loop devices to go');
  rmSync(dir, { recursive: true });
});

/** The mounting program: a child of this process. */
function mounter(): number {
  const mine = readdirSync('/proc').filter((name) => {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
      return parent === process.pid && readFileSync(`/proc/${name}/cmdline`, 'utf8').includes('umount --lazy');
    } catch {
      return false;
    }
  });
  expect(mine).toHaveLength(1);
  return Number(mine[0]);
}

test('its files stay and the failure is reported; the next attempt releases it', async () => {
  const point = await disks.mount('mbx-a', join(dir, 'disk.ext4'), 8);
  const file = join(point, 'upper', 'of-the-sandbox');
  writeFileSync(file, 'kept');
  const pid = mounter();
  process.kill(pid, 'SIGSTOP');
  const released = disks.release('mbx-a');
  process.kill(pid, 'SIGKILL');
  await expect(released).rejects.toMatchObject({ code: 'internal' });
  expect(readFileSync(file, 'utf8')).toBe('kept');
  await disks.release('mbx-a');
  expect(readdirSync(disks.dir)).toEqual([]);
});

test('an unused mount point is removed', async () => {
  await expect(disks.mount('mbx-b', join(dir, 'nowhere', 'disk.ext4'), 8)).rejects.toThrow(
    /the mount of a disk failed/,
  );
  expect(readdirSync(disks.dir)).toEqual(['mbx-b']);
  await disks.release('mbx-b');
  expect(readdirSync(disks.dir)).toEqual([]);
});

test('with a symbolic link to the data directory, disks are mounted once and released as usual', async () => {
  const link = join(dir, 'link');
  mkdirSync(join(dir, 'real'));
  symlinkSync('real', link);
  const linked = await Disks.open(link);
  await linked.mount('mbx-d', join(link, 'disk.ext4'), 8);
  await linked.close(false);
  const later = await Disks.open(link);
  expect(mountPointsBelow(link)).toEqual([later.dir]);
  await later.release('mbx-d');
  expect(readdirSync(later.dir)).toEqual([]);
  await later.close(true);
});

test('a disk that a killed agent had mounted for a claim is released by the next one', async () => {
  const point = await disks.mount('mbx-c', join(dir, 'disk-of-c.ext4'), 8);
  expect(mountPointsBelow(point)).toEqual([point]);
  const later = await Disks.open(dir);
  expect(mountPointsBelow(point)).toEqual([]);
  await later.release('mbx-c');
  expect(readdirSync(later.dir)).toEqual([]);
  await later.close(false);
});
