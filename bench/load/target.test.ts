import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { setUp } from './target.ts';

test('a set-up that fails ends the bench, which leaves the reason to what the set-up said', async () => {
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
