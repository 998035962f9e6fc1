/** The result of `npm pack`, and what a program that imports it gets. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { boxinitPath } from '../../src/cli/up/parts.ts';

const ROOT = join(import.meta.dirname, '../..');
const MAX_BYTES = 16 * 1024 * 1024;

const run = (file: string, args: string[]): string =>
  execFileSync(file, args, { cwd: ROOT, encoding: 'utf8', timeout: 120_000, stdio: ['ignore', 'pipe', 'ignore'] });

test('the package contains everything needed at run time, and no build leftovers', () => {
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

test('built files import built files', () => {
  const built = readdirSync(join(ROOT, 'dist'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.js'),
  );
  expect(built.length).toBeGreaterThan(100);
  // The compiler leaves a source file's name in an import() inside a function with an `await using`.
  const wrong = built.filter((name) =>
    /(\bfrom|\bimport)\s*\(?\s*['"]\.[^'"]*\.ts['"]/.test(readFileSync(join(ROOT, 'dist', name), 'utf8')),
  );
  expect(wrong).toEqual([]);
});

/** Prints what was loaded, by package and in order, when the process exits. */
const RECORDING = `data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from 'node:module';
  const loaded = [];
  registerHooks({
    load(url, context, next) {
      loaded.push(/.*node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(url)?.[1] ?? (url.startsWith('file:') ? 'own' : 'node'));
      return next(url, context);
    },
  });
  process.on('exit', () => console.log(JSON.stringify(loaded)));
`)}`;

test('importing the SDK loads no library of the gateway or the agent', () => {
  const program = "await import('millibox')";
  const loaded = run(process.execPath, ['--import', RECORDING, '--input-type=module', '-e', program]);
  const usual = ['own', 'node', 'ws', 'zod'];
  expect((JSON.parse(loaded) as string[]).filter((name) => !usual.includes(name))).toEqual([]);
});

test('the CLI loads few files, and no library but the one that talks to the gateway', () => {
  const { stdout } = spawnSync(process.execPath, ['--import', RECORDING, join(ROOT, 'dist/src/cli/main.js'), 'ls'], {
    env: { MILLIBOX_URL: 'http://127.0.0.1:1', MILLIBOX_API_KEY: 'mbx_'.padEnd(40, 'x') },
    encoding: 'utf8',
    timeout: 60_000,
  });
  const loaded = JSON.parse(stdout) as string[];
  expect([...new Set(loaded)].sort()).toEqual(['node', 'own', 'undici']);
  expect(loaded.filter((name) => name === 'own').length).toBeLessThan(30);
});
