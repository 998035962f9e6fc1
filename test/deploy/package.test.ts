/** What `npm pack` makes of the repository, and what a program that imports it gets. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { boxinitPath } from '../../src/cli/up/parts.ts';

const ROOT = join(import.meta.dirname, '../..');
const MAX_BYTES = 16 * 1024 * 1024;

const run = (file: string, args: string[]): string =>
  execFileSync(file, args, { cwd: ROOT, encoding: 'utf8', timeout: 120_000, stdio: ['ignore', 'pipe', 'ignore'] });

test('the package holds what runs, and nothing that a build left', () => {
  const [packed] = JSON.parse(run('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'])) as [
    { unpackedSize: number; files: { path: string }[] },
  ];
  const paths = packed.files.map(({ path }) => path);
  expect(paths).toEqual(
    expect.arrayContaining([
      'dist/src/sdk/index.js',
      'dist/src/sdk/index.d.ts',
      'dist/src/protocol/index.d.ts',
      'dist/src/cli/main.js',
      'dist/src/gateway/main.js',
      'dist/agent/main.js',
      'LICENSE',
      'README.md',
      'docs/api.md',
      'deploy/setup.sh',
      boxinitPath().slice(ROOT.length + 1),
    ]),
  );
  expect(paths.filter((path) => path.includes('/target/') && !path.endsWith('/release/boxinit'))).toEqual([]);
  expect(paths.filter((path) => /\/testing\/|\.test\.|contract\.js$|\.map$|^(test|bench)\//.test(path))).toEqual([]);
  expect(packed.unpackedSize).toBeLessThan(MAX_BYTES);
});

test('what is built imports what is built', () => {
  const built = readdirSync(join(ROOT, 'dist'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.js'),
  );
  expect(built.length).toBeGreaterThan(100);
  // The compiler leaves the name of a source file in an import() within a function that has an `await using`.
  const wrong = built.filter((name) =>
    /(\bfrom|\bimport)\s*\(?\s*['"]\.[^'"]*\.ts['"]/.test(readFileSync(join(ROOT, 'dist', name), 'utf8')),
  );
  expect(wrong).toEqual([]);
});

test('to import the SDK loads no library of the gateway or the agent', () => {
  const program = `import { registerHooks } from 'node:module';
    const loaded = new Set();
    registerHooks({
      load(url, context, next) {
        loaded.add(/.*node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(url)?.[1] ?? 'own');
        return next(url, context);
      },
    });
    await import('millibox');
    console.log(JSON.stringify([...loaded]));`;
  const loaded = JSON.parse(run(process.execPath, ['--input-type=module', '-e', program])) as string[];
  const usual = ['own', 'ws', 'zod'];
  expect(loaded.filter((name) => !usual.includes(name))).toEqual([]);
});
