import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { setUp } from './target.ts';

test('a failed setup ends the bench without repeating the reason that the setup printed', async () => {
  const root = mkdtempSync(join(tmpdir(), 'mb-root-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'deploy'));
  const lines: string[] = [];
  writeFileSync(join(root, 'deploy/setup.sh'), '[ "$1" = all ]');
  await setUp(root, (line) => lines.push(line));
  expect(lines).toEqual(['bench: set-up']);
  writeFileSync(join(root, 'deploy/setup.sh'), 'exit 3');
  await expect(setUp(root, () => undefined)).rejects.toThrow('the set-up ended with 3');
});
