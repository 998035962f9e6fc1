import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { makeDirectory } from './make-directory.ts';

const MAIN = join(import.meta.dirname, '..', 'main.ts');

test('parents are made, and what is there stays', () => {
  const root = mkdtempSync(join(tmpdir(), 'made-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  makeDirectory(join(root, 'a/b/c'), 0o700);
  makeDirectory(join(root, 'a/b'), 0o777);
  expect(statSync(join(root, 'a/b')).mode & 0o777).toBe(0o700);
  writeFileSync(join(root, 'file'), '');
  expect(() => makeDirectory(join(root, 'file'))).toThrow(/EEXIST/);
  expect(() => makeDirectory(join(root, 'file/x'))).toThrow(/ENOTDIR/);
});

test.runIf(existsSync('/proc/self'))('a home that cannot be made is told of', () => {
  const args = [MAIN, 'up', '--port', '0', '--home', '/proc/nope'];
  const { status, stderr } = spawnSync(process.execPath, args, {
    timeout: 25_000,
    killSignal: 'SIGKILL',
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: expect.stringMatching(/^millibox: ENOENT.*\/proc\/nope/) as string,
  });
});
