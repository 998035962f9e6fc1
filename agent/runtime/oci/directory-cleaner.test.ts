import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { silent } from '../../../src/lib/logger.ts';
import { DirectoryCleaner } from './directory-cleaner.ts';

test('a directory whose content cannot be read does not count as empty; one that is missing does', async () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'cleaner-'));
  try {
    // Stands for every error but that there is none.
    const file = path.join(directory, 'file');
    writeFileSync(file, '');
    const warnings: object[] = [];
    const log = { ...silent, warn: (fields: object) => void warnings.push(fields) };
    for (const dir of [path.join(directory, 'missing'), file]) {
      const cleaner = new DirectoryCleaner(dir, log);
      cleaner.clean();
      await cleaner.close();
    }
    expect(warnings).toMatchObject([{ dir: file, left: null }]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
