import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, statfsSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { silent } from '../src/lib/logger.ts';
import { makeSpreadDirectories } from './spread-directories.ts';

const EXT_MAGIC = 0xef53;

function temporary(where: string): string {
  const root = mkdtempSync(join(where, 'spread-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  return root;
}

const modeOf = (path: string): number => statSync(path).mode & 0o777;

test('directories are made with their parents, and existing ones keep their mode', async () => {
  const root = temporary(tmpdir());
  const [made, kept] = [join(root, 'a/b'), join(root, 'kept')];
  await makeSpreadDirectories({ [made]: 0o700, [kept]: 0o711 }, silent);
  chmodSync(kept, 0o750);
  await makeSpreadDirectories({ [made]: 0o700, [kept]: 0o711 }, silent);
  expect([made, kept].map(modeOf)).toEqual([0o700, 0o750]);
});

test.skipIf(statfsSync(tmpdir()).type !== EXT_MAGIC)('on ext4 they are marked as tops of a hierarchy', async () => {
  const root = temporary(tmpdir());
  const made = join(root, 'made');
  await makeSpreadDirectories({ [made]: 0o700 }, silent);
  const attributes = (path: string): string =>
    execFileSync('lsattr', ['-d', path], { encoding: 'utf8' }).split(' ')[0] ?? '';
  expect(attributes(made)).toContain('T');
  expect(attributes(root)).not.toContain('T');
});

test('a file system without such marks does without', async () => {
  const made = join(temporary('/dev/shm'), 'made');
  await makeSpreadDirectories({ [made]: 0o700 }, silent);
  expect(modeOf(made)).toBe(0o700);
});
