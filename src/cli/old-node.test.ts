/** The error that a user with an unsupported Node.js gets. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const MAIN = join(import.meta.dirname, 'main.ts');
const SDK = join(import.meta.dirname, '../sdk/index.ts');

/** Runs as if Node.js had this version. */
function under(version: string, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const pretend = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } });`;
  const preload = `data:text/javascript,${encodeURIComponent(pretend)}`;
  return new Promise((resolve) => {
    execFile(process.execPath, ['--import', preload, ...args], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

test.each(['20.20.2', '22.18.0', '9.11.2'])(
  'the CLI under Node.js %s says in one line which version it needs',
  async (version) => {
    const { code, stdout, stderr } = await under(version, MAIN, 'exec', 'sbx-0123', '--', 'true');
    expect({ code, stdout }).toEqual({ code: 255, stdout: '' });
    expect(stderr).toBe(`millibox: Node.js 22.19 or newer is needed, and this is ${version} (${process.execPath})\n`);
  },
);

test('the SDK says the same when it is imported', async () => {
  const { code, stderr } = await under('20.20.2', '--input-type=module', '-e', `await import(${JSON.stringify(SDK)})`);
  expect(code).toBe(1);
  expect(stderr).toContain('Error: millibox cannot be loaded: Node.js 22.19 or newer is needed, and this is 20.20.2');
});

test.each(['22.19.0', '22.20.1', '24.0.0', '25.0.0-pre'])('%s will do', async (version) => {
  expect(await under(version, MAIN, '--version')).toMatchObject({ code: 0, stderr: '' });
});
