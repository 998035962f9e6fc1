import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ContainerHomes, homesIn, type ContainerMeta } from './container-homes.ts';

let dataDir: string;
let homes: ContainerHomes;
beforeEach(() => {
  dataDir = mkdtempSync(path.join(tmpdir(), 'mbx-homes-'));
  homes = new ContainerHomes(dataDir);
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

const meta = (id: string): ContainerMeta => ({
  id,
  token: 'token',
  image: null,
  poolKey: 'key',
  limits: { cpus: 1, memoryMb: 64, diskMb: null, pidsLimit: 128 },
  network: 'off',
});
const fileOf = (id: string): string => path.join(homesIn(dataDir), id, 'meta.json');

test('a home is read back, with whether its container was claimed', async () => {
  await homes.create(meta('mbx-1'));
  expect(await homes.read('mbx-1')).toEqual({ meta: meta('mbx-1'), claimed: false });
  homes.markClaimed('mbx-1');
  expect(await homes.read('mbx-1')).toEqual({ meta: meta('mbx-1'), claimed: true });
});

test('a home without a complete record does not exist; one with an unreadable record may', async () => {
  for (const id of ['mbx-cut', 'mbx-other', 'mbx-unread']) await homes.create(meta(id));
  writeFileSync(fileOf('mbx-cut'), '{"id":');
  writeFileSync(fileOf('mbx-other'), `${JSON.stringify(meta('mbx-1'))}\n`);
  for (const id of ['mbx-none', 'mbx-cut', 'mbx-other']) expect(await homes.read(id)).toBeUndefined();
  // Makes reading fail, even for root.
  rmSync(fileOf('mbx-unread'));
  mkdirSync(fileOf('mbx-unread'));
  await expect(homes.read('mbx-unread')).rejects.toThrow('EISDIR');
});

test('while the owner of some is unknown, homes are not listed', async () => {
  await homes.create(meta('mbx-1'));
  expect(await homes.list()).toEqual(['mbx-1']);
  homes.keepAll();
  await expect(homes.list()).rejects.toMatchObject({ code: 'internal' });
});
