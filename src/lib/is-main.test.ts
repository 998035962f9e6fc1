import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';

test('a program counts as main even if its directory is reached by a link, and an imported module does not', () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'main-'));
  try {
    const helper = pathToFileURL(path.join(import.meta.dirname, 'is-main.ts')).href;
    const says = (name: string): string =>
      `import { isMain } from '${helper}'; console.log('${name}', isMain(import.meta.url));`;
    writeFileSync(path.join(dir, 'other.mjs'), says('other'));
    writeFileSync(path.join(dir, 'program.mjs'), `import './other.mjs'; ${says('program')}`);
    symlinkSync(dir, path.join(dir, 'link'));
    for (const program of [path.join(dir, 'program.mjs'), path.join(dir, 'link', 'program.mjs')]) {
      expect(execFileSync(process.execPath, [program], { encoding: 'utf8' })).toBe('other false\nprogram true\n');
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
