import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { EmptyDisks } from './empty-disks.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'millibox-empty-disks-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

let made: number[] = [];
const make = (path: string, sizeMb: number): Promise<void> => {
  made.push(sizeMb);
  writeFileSync(path, '');
  return Promise.resolve();
};
const open = async (): Promise<EmptyDisks> => {
  made = [];
  return await EmptyDisks.open(dir, make);
};
const nothing = (): Promise<void> => Promise.resolve();

test('a size is created once while it is in use, and again by the next agent', async () => {
  const disks = await open();
  await Promise.all([disks.use(8, nothing), disks.use(8, nothing)]);
  await disks.use(8, nothing);
  expect(made).toEqual([8]);
  await (await open()).use(8, nothing);
  expect(made).toEqual([8]);
  expect(readdirSync(dir)).toHaveLength(1);
});

test('however many sizes clients choose, a bounded number is kept: the most recently used', async () => {
  const disks = await open();
  await disks.use(4, nothing);
  for (let size = 5; size < 205; size += 1) {
    await disks.use(size, nothing);
    await disks.use(4, nothing);
  }
  expect(readdirSync(dir)).toHaveLength(64);
  expect(made.filter((size) => size === 4)).toHaveLength(1);
});

test('a disk that is being copied is not removed', async () => {
  const disks = await open();
  const gate = Promise.withResolvers<undefined>();
  const copying = disks.use(4, async (path) => {
    await gate.promise;
    return existsSync(path);
  });
  for (let size = 5; size < 105; size += 1) await disks.use(size, nothing);
  gate.resolve(undefined);
  expect(await copying).toBe(true);
});

test('a size that could not be created is tried again', async () => {
  let fail = true;
  const disks = await EmptyDisks.open(dir, (path, size) =>
    fail ? Promise.reject(new Error('no room')) : make(path, size),
  );
  await expect(disks.use(8, nothing)).rejects.toThrow('no room');
  fail = false;
  await disks.use(8, nothing);
});

/** Offset of an ext4 superblock's feature bits, and the bit for the journal. */
const FEATURES_AT = 1024 + 92;
const HAS_JOURNAL = 4;

test('a disk has a journal, unless it is so small that the journal would take much of it', async () => {
  const disks = await EmptyDisks.open(dir);
  const hasJournal = (sizeMb: number): Promise<boolean> =>
    disks.use(sizeMb, (path) => Promise.resolve((readFileSync(path).readUInt32LE(FEATURES_AT) & HAS_JOURNAL) !== 0));
  expect([await hasJournal(4), await hasJournal(255), await hasJournal(256)]).toEqual([false, false, true]);
});
