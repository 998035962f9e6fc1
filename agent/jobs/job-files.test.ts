import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silent } from '../../src/lib/logger.ts';
import { JobFiles, type JobFilesOptions, type StoredJob } from './job-files.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(path.join(tmpdir(), 'job-'));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const options = (directory: string): JobFilesOptions => ({
  directory,
  free: Promise.resolve(),
  maxBytes: 1024 * 1024,
  log: silent,
  changed: () => undefined,
});
const open = (directory: string): JobFiles => JobFiles.create(options(directory));

const stored = (pid: number): StoredJob => ({
  version: 1,
  id: 'exe-job',
  pid,
  startedAtMs: 0,
  pty: false,
  stdinBytes: 0,
  exit: null,
});

test('concurrent writes of a record are all made, in order', async () => {
  const directory = path.join(home, 'exe-job');
  const files = open(directory);
  await Promise.all(Array.from({ length: 20 }, (_, pid) => files.save(stored(pid))));
  expect(JSON.parse(readFileSync(path.join(directory, 'job.json'), 'utf8'))).toMatchObject({ pid: 19 });
  expect(readdirSync(directory).filter((name) => name.endsWith('.new'))).toEqual([]);
  await files.close();
});

test('a removal waits for writes in progress, and nothing is written after it', async () => {
  const directory = path.join(home, 'exe-job');
  const files = open(directory);
  const saved = [files.save(stored(1)), files.save(stored(2))];
  const removed = files.remove();
  saved.push(files.save(stored(3)));
  await Promise.all([...saved, removed]);
  expect(existsSync(directory)).toBe(false);
});

test('a job without a complete record does not exist; one whose record or log is unreadable may exist', async () => {
  const directory = path.join(home, 'exe-job');
  const file = path.join(directory, 'job.json');
  const load = () => JobFiles.load(options(directory));
  expect(await load()).toBeUndefined();
  mkdirSync(directory);
  writeFileSync(file, '{"id":');
  expect(await load()).toBeUndefined();
  writeFileSync(file, JSON.stringify(stored(7)));
  expect((await load())?.stored).toEqual(stored(7));
  // Makes reading fail, even for root.
  rmSync(file);
  mkdirSync(file);
  await expect(load()).rejects.toThrow('EISDIR');
});
