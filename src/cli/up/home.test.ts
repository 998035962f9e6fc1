import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const MAIN = join(import.meta.dirname, '..', 'main.ts');

test.runIf(existsSync('/proc/self'))('a home that cannot be made is told of', () => {
  const args = [MAIN, 'up', '--port', '0', '--home', '/proc/nope'];
  const { status, stderr } = spawnSync(process.execPath, args, {
    timeout: 25_000,
    killSignal: 'SIGKILL',
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: expect.stringMatching(/^millibox: ENOENT.*\/proc\/nope/) as string,
  });
});
