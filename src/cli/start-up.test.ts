/** What a command loads before it does anything: milliseconds added to every call of the CLI. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const MAIN = join(import.meta.dirname, 'main.ts');
/** Prints the name of each loaded module on stderr. */
const TRACE = `data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from 'node:module';
  import { writeSync } from 'node:fs';
  registerHooks({ load(url, context, next) { writeSync(2, 'load ' + url + '\\n'); return next(url, context); } });
`)}`;

async function loadedBy(...args: string[]): Promise<string[]> {
  const run = promisify(execFile)(process.execPath, ['--import', TRACE, MAIN, ...args]);
  const { stderr } = await run.catch((error: unknown) => error as { stderr: string });
  return stderr.split('\n').filter((line) => line.startsWith('load '));
}

const COMMANDS = [
  'up',
  'gateway',
  'agent',
  'create',
  'exec',
  'shell',
  'cp',
  'ls',
  'rm',
  'jobs',
  'logs',
  'kill',
  'image',
];
const HEAVY = /zod|undici|kubernetes|fastify|\/src\/(mux|gateway)\/|\/src\/sdk\/(index|client|exec)|\/agent\//;

test.each(['', ...COMMANDS, 'node', 'bench'])(
  'help of `millibox %s` loads nothing that only its work needs',
  async (name) => {
    const loaded = await loadedBy(...(name === '' ? [] : [name]), '--help');
    expect(loaded.filter((url) => url.includes('/src/cli/')).length).toBeGreaterThan(1);
    expect(loaded.filter((url) => HEAVY.test(url))).toEqual([]);
  },
);

test('a client command loads no HTTP client before it is needed, and nothing of the service', async () => {
  // Ends before it sends anything.
  const loaded = await loadedBy('--url', 'none:', 'exec', 'sbx-0123', '--', 'true');
  expect(loaded.filter((url) => url.includes('/src/sdk/')).length).toBeGreaterThan(1);
  expect(loaded.filter((url) => /undici|kubernetes|fastify|ioredis|\/src\/gateway\/|\/agent\//.test(url))).toEqual([]);
});
