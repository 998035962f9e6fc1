import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const MAIN = join(import.meta.dirname, 'main.ts');

test.runIf(existsSync('/proc/self'))('a data directory that cannot be created is reported', () => {
  const { status, stderr } = spawnSync(process.execPath, [MAIN], {
    timeout: 25_000,
    killSignal: 'SIGKILL',
    encoding: 'utf8',
    env: { MILLIBOX_NODE_SECRET: 'a secret that only tests share', MILLIBOX_DATA_DIR: '/proc/nope' },
  });
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: expect.stringMatching(/^ENOENT.*\/proc\/nope/) as string,
  });
});
