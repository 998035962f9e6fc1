import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Boxes } from './boxes.ts';

let directory: string;
beforeEach(() => (directory = mkdtempSync(path.join(tmpdir(), 'boxes-'))));
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Puts a tree into the directory whose innermost path has some 20,000 bytes, without ever naming that. */
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

test('a tree deeper than any path can name goes like any other, and so do many at once', async () => {
  const boxes = await Boxes.open(directory);
  const ids = Array.from({ length: 40 }, (_, i) => `mbx-${i}`);
  for (const id of ids) writeFileSync(path.join(await boxes.make(id), 'upper', 'file'), 'x');
  deepen(path.join(boxes.dirOf('mbx-0'), 'upper'));
  await Promise.all(ids.map((id) => boxes.remove(id)));
  expect(boxes.ids()).toEqual([]);
  await boxes.allRemoved();
  expect(readdirSync(path.join(directory, 'grave'))).toEqual([]);
});

test('what an earlier agent did not get to bury is buried by the next', async () => {
  mkdirSync(path.join(directory, 'grave', 'mbx-old', 'upper'), { recursive: true });
  const boxes = await Boxes.open(directory);
  await boxes.allRemoved();
  expect(readdirSync(path.join(directory, 'grave'))).toEqual([]);
});

test('what is given up while others are being buried is buried too', async () => {
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
