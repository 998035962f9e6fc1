/** The unmodified `prime` command line, with only its two environment variables set. */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { clientEnvironment, program, testImage } from './clients.ts';

const LIMIT_MS = 120_000;
const prime = program('cli', 'prime');
let stack: TestStack | undefined;
let env: Record<string, string> = {};

beforeAll(async () => {
  if (prime === undefined) return;
  stack = await startStack({ pool: 1, gatewayEnv: { MILLIBOX_PRIME_NETWORK: 'off' } });
  env = { ...clientEnvironment(stack, 'cli'), PRIME_DISABLE_VERSION_CHECK: '1', COLUMNS: '200' };
});
afterAll(() => stack?.stop());

interface Done {
  code: number;
  stdout: string;
  all: string;
}

function run(...args: string[]): Promise<Done> {
  return new Promise((resolve) => {
    execFile(prime ?? '', args, { env, timeout: LIMIT_MS, cwd: env['HOME'] }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, all: `${stdout}\n${stderr}` });
    });
  });
}

async function ids(): Promise<string[]> {
  const { stdout } = await run('sandbox', 'list', '--output', 'json');
  return (JSON.parse(stdout) as { sandboxes: { id: string }[] }).sandboxes.map(({ id }) => id);
}

describe.skipIf(prime === undefined)('prime sandbox', () => {
  let id = '';

  test('whoami names the user, as delete by label wants', { timeout: LIMIT_MS }, async () => {
    const done = await run('whoami');
    expect(done).toMatchObject({ code: 0 });
  });

  test('create, list and get', { timeout: LIMIT_MS }, async () => {
    const made = await run('sandbox', 'create', testImage(), '--name', 'from-cli', '--label', 'cli', '-y');
    expect(made).toMatchObject({ code: 0 });
    [id = ''] = await ids();
    expect(made.all).toContain(id);
    const got = await run('sandbox', 'get', id, '--plain');
    expect(got.all).toContain('from-cli');
  });

  test('run passes on the output and the exit code', { timeout: LIMIT_MS }, async () => {
    const done = await run('sandbox', 'run', id, '--', 'sh', '-c', 'echo hi; exit 4');
    expect(done.all).toContain('hi');
    expect(done.code).toBe(4);
  });

  test('upload and download', { timeout: LIMIT_MS }, async () => {
    const [from, to] = [join(env['HOME'] ?? '', 'from'), join(env['HOME'] ?? '', 'to')];
    writeFileSync(from, 'some bytes \u00e4\n');
    expect(await run('sandbox', 'upload', id, from, '/tmp/up/file')).toMatchObject({ code: 0 });
    expect(await run('sandbox', 'download', id, '/tmp/up/file', to)).toMatchObject({ code: 0 });
    expect(readFileSync(to, 'utf8')).toBe('some bytes \u00e4\n');
  });

  test('delete by label', { timeout: LIMIT_MS }, async () => {
    expect(await run('sandbox', 'delete', '--label', 'cli', '-y')).toMatchObject({ code: 0 });
    expect(await ids()).toEqual([]);
  });
});
