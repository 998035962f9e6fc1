import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RuntimeCli } from './runtime-cli.ts';
import { sweep } from './sweep.ts';

let directory: string;
beforeEach(() => (directory = mkdtempSync(path.join(tmpdir(), 'sweep-'))));
afterEach(() => rmSync(directory, { recursive: true }));

/** Sweeps for an agent without boxes and groups. */
async function swept(): Promise<void> {
  const tree = { version: 2, hierarchies: [directory], controllers: { memory: directory, pids: directory } };
  const place = { ociDir: directory, group: 'group', boxesGroup: 'group/boxes' };
  const deps = { place, tree, boxes: { ids: () => [] }, cli: new RuntimeCli('runc', path.join(directory, 'state')) };
  await sweep(deps as unknown as Parameters<typeof sweep>[0]);
}

test('a sweep may find nothing', async () => {
  await swept();
});

// A file in place of the directory stands in for any error other than ENOENT.
test.for(['nurseries', 'state'])('an unreadable "%s" does not count as empty', async (name) => {
  mkdirSync(path.join(directory, 'group'));
  writeFileSync(path.join(directory, name), '');
  await expect(swept()).rejects.toMatchObject({ code: 'ENOTDIR' });
});
