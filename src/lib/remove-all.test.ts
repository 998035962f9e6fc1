import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { removeAll } from './remove-all.ts';

test('a tree is removed with everything in it, whoever else is removing it', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'remove-'));
  for (let i = 0; i < 50; i++) {
    mkdirSync(join(directory, `${i}`, 'below'), { recursive: true });
    writeFileSync(join(directory, `${i}`, 'below', 'file'), '');
  }
  await Promise.all([removeAll(directory), removeAll(directory)]);
  expect(existsSync(directory)).toBe(false);
  await removeAll(directory);
});

test('a failure to remove it is reported when time is up', async () => {
  await expect(removeAll('/proc/self/task', 100)).rejects.toThrow('/proc/self/task could not be removed within 100 ms');
});
