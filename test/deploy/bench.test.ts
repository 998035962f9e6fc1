/** The bench's surroundings: run in a fresh clone without set-up, and with wrong arguments. */
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { ROOT, run } from './tools.ts';

const clone = mkdtempSync(path.join(tmpdir(), 'mb-clone-'));
afterEach(() => rmSync(clone, { recursive: true, force: true }));

/** Stands in for npm: "installs" the Node.js that runs this test, and writes to stdout as npm does. */
const NPM = `#!/bin/sh
mkdir -p node_modules/.bin
ln -s ${process.execPath} node_modules/.bin/node
cp package-lock.json node_modules/.package-lock.json
echo 'added 1 package'
`;

test('it installs its prerequisites first, and only its own output goes to stdout', async () => {
  cpSync(path.join(ROOT, 'deploy'), path.join(clone, 'deploy'), { recursive: true });
  writeFileSync(path.join(clone, 'package-lock.json'), '{"packages":{}}');
  mkdirSync(path.join(clone, 'bench'));
  writeFileSync(
    path.join(clone, 'bench/main.ts'),
    'const words: string[] = process.argv.slice(2);\nconsole.log(words);\n',
  );
  mkdirSync(path.join(clone, 'bin'));
  writeFileSync(path.join(clone, 'bin/npm'), NPM);
  chmodSync(path.join(clone, 'bin/npm'), 0o755);

  const { status, stdout, stderr } = await run('bash', [path.join(clone, 'deploy/bench.sh'), 'exec', '--help'], {
    env: { PATH: `${clone}/bin:${path.dirname(process.execPath)}:/usr/bin:/bin`, HOME: clone, MILLIBOX_HOME: clone },
    cwd: '/',
  });
  expect({ status, stdout }).toEqual({ status: 0, stdout: "[ 'exec', '--help' ]\n" });
  expect(stderr).toContain('npm ci');
});

test.each([
  [['exec', '--bogus'], "bench: Unknown option '--bogus'"],
  [['exec', '--n', '1.5'], 'bench: --n takes a whole number\n'],
  [['images', '--url', 'http://127.0.0.1:1'], 'bench: images prepares the server that it measures: leave --url out\n'],
  [['nothing'], 'bench: there is no scenario nothing\n\nUsage: npm run -s bench'],
  [['load', 'nothing'], 'bench: load takes one of exec-storm, '],
])('called as %j, it says what is wrong, and no more', async (args, said) => {
  const { status, stdout, stderr } = await run(process.execPath, [path.join(ROOT, 'bench/main.ts'), ...args]);
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  expect(stderr.startsWith(said)).toBe(true);
  expect(stderr).not.toContain('    at ');
});
