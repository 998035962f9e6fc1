import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const MAIN = join(import.meta.dirname, '..', 'main.ts');

test.each([
  ['--runtime', 'bogus', /Allowed choices are auto, docker, oci, gvisor\.$/],
  ['--image', 'No Image', /No Image is not an image reference/],
  ['--port', '70000', /a whole number from 0 to 65535/],
  ['--agents', '0', /a whole number from 1 to 100/],
  ['--pool', '-1', /a whole number/],
])('%s %s is refused before anything is created or started', (option, value, why) => {
  const home = join(import.meta.dirname, 'never-made');
  const { stderr, status } = spawnSync(process.execPath, [MAIN, 'up', '--home', home, `${option}=${value}`], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  const [line = '', next] = stderr.split('\n');
  expect(line).toMatch(/^error: option '/);
  expect(line).toMatch(why);
  expect(next).toBe('(see: millibox up --help)');
  expect(status).toBe(1);
  expect(existsSync(home)).toBe(false);
});
