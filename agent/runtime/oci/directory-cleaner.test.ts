import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { silent } from '../../../src/lib/logger.ts';
import { DirectoryCleaner } from './directory-cleaner.ts';

test('an unreadable directory does not count as empty; a missing one does', async () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'cleaner-'));
  try {
    // Stands in for any error other than ENOENT.
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
