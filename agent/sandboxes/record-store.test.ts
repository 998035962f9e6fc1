import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silent } from '../../src/lib/logger.ts';
import { newSpec, until } from '../testing/harness.ts';
import { RecordStore, type StoredSandbox } from './record-store.ts';
import { newRecord } from './sandbox.ts';

let dir: string;
beforeEach(() => void (dir = mkdtempSync(path.join(tmpdir(), 'mbx-'))));
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const spareOf = (containerId: string): string => path.join(dir, `${containerId}-spare`);
const newStore = (): RecordStore => new RecordStore(dir, spareOf, silent);

function stored(): StoredSandbox {
  const spec = newSpec({ secrets: { KEY: 'hidden' } });
  return {
    version: 1,
    spec,
    record: newRecord(spec, Date.now()),
    containerId: null,
    image: null,
    usedUntilMs: null,
    oomKills: { attributed: 0, exits: [] },
  };
}
const fileOf = (each: StoredSandbox): string => path.join(dir, 'sandboxes', `${each.record.id}.json`);
const running = (each: StoredSandbox): StoredSandbox => ({
  ...each,
  containerId: 'mbx-1',
  record: { ...each.record, status: 'RUNNING' },
});

test('the latest change counts, and everything else is as first recorded', () => {
  const store = newStore();
  const first = stored();
  store.save(first);
  store.save(running(first));
  expect(newStore().load()).toEqual([running(first)]);
  expect(statSync(fileOf(first)).mode & 0o777).toBe(0o600);
});

test('a record of an earlier agent, which noted less, is taken over', () => {
  const { usedUntilMs, oomKills, ...earlier } = running(stored());
  const each = { ...earlier, usedUntilMs, oomKills };
  mkdirSync(path.dirname(fileOf(each)), { recursive: true });
  writeFileSync(fileOf(each), `${JSON.stringify(earlier)}\n`);
  expect(newStore().load()).toEqual([each]);
});

test('the first record of a sandbox that has its container is its spare file, if there is one', () => {
  const store = newStore();
  const [first, second] = [running(stored()), running(stored())];
  writeFileSync(spareOf('mbx-1'), '', { mode: 0o600 });
  const { ino } = statSync(spareOf('mbx-1'));
  for (const each of [first, second]) store.save(each);
  expect(statSync(fileOf(first)).ino).toBe(ino);
  expect(existsSync(spareOf('mbx-1'))).toBe(false);
  store.save({ ...first, containerId: 'mbx-2' });
  expect(new Set(newStore().load())).toEqual(new Set([{ ...first, containerId: 'mbx-2' }, second]));
});

test('a change half-written when the agent died never happened', () => {
  const store = newStore();
  const first = stored();
  store.save(first);
  const change = JSON.stringify(running(first));
  for (const length of [1, 20, change.length]) {
    appendFileSync(fileOf(first), change.slice(0, length));
    const next = newStore();
    expect(next.load()).toEqual([first]);
    next.save(first);
  }
  const last = newStore();
  last.load();
  last.save(running(first));
  expect(newStore().load()).toEqual([running(first)]);
});

test('a line truncated by a full disk corrupts none that follow', () => {
  const store = newStore();
  const first = stored();
  store.save(first);
  const line = JSON.stringify(running(first));
  renameSync(fileOf(first), `${fileOf(first)}.kept`);
  symlinkSync('/dev/full', fileOf(first));
  expect(() => store.save(running(first))).toThrow('ENOSPC');
  renameSync(`${fileOf(first)}.kept`, fileOf(first));
  appendFileSync(fileOf(first), line.slice(0, 30));
  expect(newStore().load()).toEqual([first]);
  store.save(running(first));
  expect(newStore().load()).toEqual([running(first)]);
});

test('an unreadable record is left as it is, and counts once it can be read', () => {
  const [lost, other] = [stored(), stored()];
  const before = newStore();
  for (const each of [lost, other]) before.save(each);
  renameSync(fileOf(lost), `${fileOf(lost)}.kept`);
  // Makes reading fail, even for root.
  mkdirSync(fileOf(lost));
  const store = newStore();
  expect(store.load()).toEqual([other]);
  expect([...store.left.keys()]).toEqual([lost.record.id]);
  expect(() => store.save(lost)).toThrow('kept for the next one');
  rmSync(fileOf(lost), { recursive: true });
  renameSync(`${fileOf(lost)}.kept`, fileOf(lost));
  expect(store.load()).toHaveLength(2);
  expect(store.left.size).toBe(0);
});

test('a file does not grow without bound', () => {
  const store = newStore();
  const first = stored();
  for (let i = 0; i < 1_000; i += 1) store.save(first);
  expect(readFileSync(fileOf(first), 'utf8').split('\n').length).toBeLessThan(80);
});

test('a sealed record holds no secret, and one removed meanwhile stays removed', async () => {
  const store = newStore();
  const [kept, removed] = [stored(), stored()];
  for (const each of [kept, removed]) {
    store.save(each);
    store.seal(each);
  }
  store.remove(removed.record.id);
  await until('the secret is gone', () => !readFileSync(fileOf(kept), 'utf8').includes('hidden'));
  const names = (): string[] => readdirSync(path.join(dir, 'sandboxes'));
  await until('only one file is left', () => names().length === 1);
  expect(names()).toEqual([`${kept.record.id}.json`]);
});

test('a seal that the disk refuses leaves nothing beside the record', async () => {
  const store = newStore();
  const each = stored();
  store.save(each);
  symlinkSync('/dev/full', `${fileOf(each)}.new`);
  store.seal(each);
  const names = (): string[] => readdirSync(path.join(dir, 'sandboxes'));
  await until('what was begun is gone', () => names().length === 1);
  expect(newStore().load()).toEqual([each]);
});

test('an id that would leave the directory is refused', () => {
  const bad = stored();
  bad.record = { ...bad.record, id: '../../etc/cron' };
  expect(() => newStore().save(bad)).toThrow('no file name');
});
