import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { makeDirectory } from './make-directory.ts';

test('parents are created, and existing ones stay', () => {
  const root = mkdtempSync(join(tmpdir(), 'made-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  makeDirectory(join(root, 'a/b/c'), 0o700);
  makeDirectory(join(root, 'a/b'), 0o777);
  expect(statSync(join(root, 'a/b')).mode & 0o777).toBe(0o700);
  writeFileSync(join(root, 'file'), '');
  expect(() => makeDirectory(join(root, 'file'))).toThrow(/EEXIST/);
  expect(() => makeDirectory(join(root, 'file/x'))).toThrow(/ENOTDIR/);
});
