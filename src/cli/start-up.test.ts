/** What a command loads before it does anything: milliseconds that every call of the CLI pays. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const MAIN = join(import.meta.dirname, 'main.ts');
/** Names each module that is loaded on stderr. */
const TRACE = `data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from 'node:module';
  import { writeSync } from 'node:fs';
  registerHooks({ load(url, context, next) { writeSync(2, 'load ' + url + '\\n'); return next(url, context); } });
`)}`;

async function loadedBy(...args: string[]): Promise<string[]> {
  const { stderr } = await promisify(execFile)(process.execPath, ['--import', TRACE, MAIN, ...args]);
  return stderr.split('\n').filter((line) => line.startsWith('load '));
}

test('help loads nothing that only a command needs', async () => {
  const loaded = await loadedBy('--help');
  expect(loaded.filter((url) => url.includes('/src/cli/')).length).toBeGreaterThan(1);
  expect(loaded.filter((url) => /zod|undici|kubernetes|\/src\/(sdk|mux|gateway)\/|\/agent\//.test(url))).toEqual([]);
});

test('a command of a client loads no HTTP client before it is needed, and nothing of the service', async () => {
  const loaded = await loadedBy('exec', '--help');
  expect(loaded.filter((url) => url.includes('/src/sdk/')).length).toBeGreaterThan(1);
  expect(loaded.filter((url) => /undici|kubernetes|fastify|ioredis|\/src\/gateway\/|\/agent\//.test(url))).toEqual([]);
});
