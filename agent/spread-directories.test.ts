import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statfsSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { silent } from '../src/lib/logger.ts';
import { EXT_MAGIC, spreadSubdirectories } from './spread-directories.ts';

/** A fresh directory `made`, in another fresh one. */
function temporary(where: string): { root: string; made: string } {
  const root = mkdtempSync(join(where, 'spread-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const made = join(root, 'made');
  mkdirSync(made);
  return { root, made };
}

const modeOf = (path: string): number => statSync(path).mode & 0o777;

test('marked directories keep their mode', async () => {
  const { made } = temporary(tmpdir());
  chmodSync(made, 0o750);
  await spreadSubdirectories([made], silent);
  expect(modeOf(made)).toBe(0o750);
});

test.skipIf(statfsSync(tmpdir()).type !== EXT_MAGIC)('on ext4 they are marked as tops of a hierarchy', async () => {
  const { root, made } = temporary(tmpdir());
  await spreadSubdirectories([made], silent);
  const attributes = (path: string): string =>
    execFileSync('lsattr', ['-d', path], { encoding: 'utf8' }).split(' ')[0] ?? '';
  expect(attributes(made)).toContain('T');
  expect(attributes(root)).not.toContain('T');
});

test('a file system without such marks does without', async () => {
  const { made } = temporary('/dev/shm');
  await expect(spreadSubdirectories([made], silent)).resolves.toBeUndefined();
});
