import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silent, type Logger } from '../../../src/lib/logger.ts';
import { Boxes } from './boxes.ts';

let directory: string;
beforeEach(() => (directory = mkdtempSync(path.join(tmpdir(), 'boxes-'))));
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Nests a tree so deep that its innermost path has some 20,000 bytes, without ever using that path. */
function deepen(into: string): void {
  const [tree, outer] = [path.join(into, 'tree'), path.join(into, 'outer')];
  mkdirSync(tree);
  for (let i = 0; i < 8; i++) {
    const inner = path.join(outer, ...Array.from({ length: 12 }, () => 'd'.repeat(200)));
    mkdirSync(inner, { recursive: true });
    renameSync(tree, path.join(inner, 'tree'));
    renameSync(outer, tree);
  }
}

test('a tree too deep for any path is removed like any other, and so are many at once', async () => {
  const boxes = await Boxes.open(directory);
  const ids = Array.from({ length: 40 }, (_, i) => `mbx-${i}`);
  for (const id of ids) writeFileSync(path.join(await boxes.make(id), 'upper', 'file'), 'x');
  deepen(path.join(boxes.dirOf('mbx-0'), 'upper'));
  await Promise.all(ids.map((id) => boxes.remove(id)));
  expect(boxes.ids()).toEqual([]);
  await boxes.allRemoved();
  expect(readdirSync(path.join(directory, 'grave'))).toEqual([]);
});

test('a container that starts on an image has that image recorded before its process', async () => {
  const boxes = await Boxes.open(directory);
  const dir = await boxes.make('mbx-a');
  const process = { pid: 1, startTime: 1 };
  const more = { cgroup: 'group', by: 'runtime', imageId: 'sha256:1' } as const;
  expect(boxes.started('mbx-a', process, more)).toMatchObject({ pid: 1, imageId: 'sha256:1' });
  expect((await Boxes.open(directory)).get('mbx-a')).toMatchObject({ pid: 1, imageId: 'sha256:1' });
  rmSync(path.join(dir, 'state.json'));
  rmSync(path.join(dir, 'image'));
  // Nothing can be written in place of a directory.
  mkdirSync(path.join(dir, 'image'));
  expect(() => boxes.started('mbx-a', process, more)).toThrow();
  expect((await Boxes.open(directory)).wasStarted('mbx-a')).toBe(false);
});

test('files that an earlier agent did not finish removing are removed by the next', async () => {
  mkdirSync(path.join(directory, 'grave', 'mbx-old', 'upper'), { recursive: true });
  const boxes = await Boxes.open(directory);
  await boxes.allRemoved();
  expect(readdirSync(path.join(directory, 'grave'))).toEqual([]);
});

test('a box removed while others are being removed is removed too', async () => {
  const boxes = await Boxes.open(directory);
  for (let round = 0; round < 5; round++) {
    const ids = [`mbx-${round}-a`, `mbx-${round}-b`];
    for (const id of ids) writeFileSync(path.join(await boxes.make(id), 'upper', 'file'), 'x');
    await Promise.all(ids.map((id) => boxes.remove(id)));
  }
  await boxes.allRemoved();
  expect(readdirSync(path.join(directory, 'grave'))).toEqual([]);
  await boxes.make('mbx-late');
  await boxes.remove('mbx-late');
  await boxes.allRemoved();
  expect(readdirSync(path.join(directory, 'grave'))).toEqual([]);
});

test('any number of boxes with any names are removed', async () => {
  // Their paths together exceed what one program can be given as arguments.
  const deep = path.join(directory, ...Array.from({ length: 12 }, () => 'd'.repeat(250)));
  const grave = path.join(deep, 'grave');
  mkdirSync(grave, { recursive: true });
  for (let i = 0; i < 1_000; i++) writeFileSync(path.join(grave, `mbx-${i}`), '');
  for (const name of ['.hidden', '-rf', 'two\nlines']) writeFileSync(path.join(grave, name), '');
  const boxes = await Boxes.open(deep);
  await boxes.allRemoved();
  expect(readdirSync(grave)).toEqual([]);
});

test.skipIf(process.getuid?.() !== 0)('files that cannot be removed are logged, with the reason', async () => {
  const [log, logged] = logger();
  const busy = path.join(directory, 'grave', 'mbx-busy', 'upper');
  mkdirSync(busy, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', 'none', busy]);
  try {
    await (await Boxes.open(directory, log)).allRemoved();
  } finally {
    execFileSync('umount', [busy]);
  }
  expect(logged).toEqual([
    expect.objectContaining({ left: 1, said: expect.stringMatching(/mbx-busy/) as unknown }) as unknown,
  ]);
});

const started = { cgroup: 'a/b', by: 'nursery' } as const;

test('only a box without a record was never started: one with an unreadable record may be running', async () => {
  const before = await Boxes.open(directory);
  for (const id of ['mbx-cut', 'mbx-newer', 'mbx-image', 'mbx-whole', 'mbx-unborn']) await before.make(id);
  for (const id of ['mbx-cut', 'mbx-newer', 'mbx-image', 'mbx-whole']) {
    before.claimed(before.started(id, { pid: 4_000_000, startTime: 1 }, started), 'sha256:0');
  }
  const record = (id: string): string => path.join(before.dirOf(id), 'state.json');
  writeFileSync(record('mbx-cut'), '{"pid": 4');
  writeFileSync(record('mbx-newer'), JSON.stringify({ pid: 4_000_000, startTime: 1, ...started, by: 'something new' }));
  // Makes reading fail, even for root.
  rmSync(path.join(before.dirOf('mbx-image'), 'image'));
  mkdirSync(path.join(before.dirOf('mbx-image'), 'image'));

  const [log, logged] = logger();
  const boxes = await Boxes.open(directory, log);
  const found = boxes
    .ids()
    .sort()
    .map((id) => [id, boxes.wasStarted(id), boxes.get(id)?.imageId]);
  expect(found).toEqual([
    ['mbx-cut', true, undefined],
    ['mbx-image', true, undefined],
    ['mbx-newer', true, undefined],
    ['mbx-unborn', false, undefined],
    ['mbx-whole', true, 'sha256:0'],
  ]);
  for (const id of boxes.ids()) boxes.get(id);
  expect(logged.map((fields) => (fields as { container: string }).container).sort()).toEqual([
    'mbx-cut',
    'mbx-image',
    'mbx-newer',
  ]);
  // Read again once that is possible.
  writeFileSync(record('mbx-cut'), JSON.stringify({ pid: 4_000_000, startTime: 1, ...started }));
  expect(boxes.get('mbx-cut')?.imageId).toBe('sha256:0');
});

/** A logger, and the fields of its warnings and errors. */
function logger(): [Logger, object[]] {
  const logged: object[] = [];
  const note = (fields: object): void => void logged.push(fields);
  return [{ ...silent, warn: note, error: note }, logged];
}
