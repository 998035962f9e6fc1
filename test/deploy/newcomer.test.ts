/** A first start of millibox: lines to paste, and one clear line if it cannot run. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { welcome } from '../../src/cli/up/welcome.ts';
import { allowedEnvironment } from '../helpers/config.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { find, ROOT, run, type Ended } from './tools.ts';

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(path.join(tmpdir(), 'mb-new-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe('the lines that `up` prints', () => {
  let stack: TestStack;
  beforeAll(async () => {
    stack = await startStack({ pool: 1 });
  });
  afterAll(() => stack?.stop());

  const blocks = (): Record<string, string> => {
    const { url, apiKey, home } = stack;
    const parts = welcome({ url, apiKey, home }, '/usr/bin').split(/^(curl|CLI|SDK)[^\n]*:\n/m);
    return Object.fromEntries(
      parts.slice(1).flatMap((name, i, all) => (i % 2 === 0 ? [[name, all[i + 1] ?? '']] : [])),
    );
  };

  test.for(find('curl') === undefined ? ['CLI', 'SDK'] : ['curl', 'CLI', 'SDK'])(
    '%s: pasted in another directory of a shell that knows nothing, they run a program and leave no sandbox',
    async (name) => {
      const shell = path.join(scratch, name);
      writeFileSync(shell, blocks()[name] ?? '');
      const env = { PATH: allowedEnvironment()['PATH'], HOME: scratch };
      const { status, stdout, stderr } = await run('sh', [shell], { env, cwd: '/' });
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(stdout).toMatch(/^42$|"stdout":"42\\n"/m);
      const alive = await stack.client.sandboxes.list({ status: 'RUNNING' }).next();
      expect(alive.done).toBe(true);
    },
  );
});

/** Runs lines of shell after the set-up's own functions, some of which the lines may replace. */
async function setup(lines: string, env: Record<string, string> = {}): Promise<Ended> {
  const parts = ['common', 'apt', 'deps', 'rust', 'engine', 'image', 'machine'];
  const sources = parts.map((part) => `source ${ROOT}/deploy/lib/${part}.sh`).join('\n');
  return await run('bash', ['-c', `${sources}\n${lines}`], {
    env: { PATH: allowedEnvironment()['PATH'], HOME: scratch, MILLIBOX_HOME: scratch, ...env },
  });
}

test("a daemon started by a package's installation does not hold a lock of the set-up", async () => {
  const { stdout } = await setup(`
    prepare_home
    trap 'kill "$(cat "$MILLIBOX_HOME/daemon.pid")"' EXIT
    with_lock engine patiently "$MILLIBOX_HOME/log/test.log" bash -c 'sleep 300 & echo $! >"$MILLIBOX_HOME/daemon.pid"'
    flock -n "$MILLIBOX_HOME/run/engine.lock" echo free`);
  expect(stdout).toBe('free\n');
});

test.each([
  ['a home that is not there', '/proc/none', '', 'npm-cache'],
  ['a home of its own', '/tmp', '', ''],
  ['a home that is not there and a cache that somebody chose', '/proc/none', '/chosen', '/chosen'],
])('npm keeps its cache where it can: %s', async (_, home, chosen, expected) => {
  const env = { HOME: home, ...(chosen === '' ? {} : { npm_config_cache: chosen }) };
  const { stdout } = await setup('lend_npm_a_cache; echo "${npm_config_cache:-}"', env);
  expect(stdout.trim().replace(`${scratch}/`, '')).toBe(expected);
});

describe('the set-up ends with one line that says what is missing and what to do', () => {
  const LACKING =
    'engine_answers() { false; }; rust_packages() { echo gcc; }; have() { [ "$1" = node ] || [ "$1" = npm ]; }';
  const NOT_ROOT = 'is_root() { false; }';

  test.for<[name: string, lines: string, says: RegExp, env?: Record<string, string>]>([
    [
      'not root, and nothing is there',
      `${LACKING}; have() { true; }; engine_refusal() { :; }; ${NOT_ROOT}; check_machine`,
      /lacks a Rust toolchain \(.*\) and a Docker engine that answers; run this as root, which installs them/,
    ],
    [
      'not Debian, and nothing is there',
      `${LACKING}; is_root() { true; }; check_machine`,
      /lacks a Rust toolchain \(.*\) and a Docker engine that answers, and this is not Debian or Ubuntu.*; install them/,
    ],
    [
      'an engine that only others may use',
      `${NOT_ROOT}; docker() { echo 'permission denied while trying to connect' >&2; false; }; timeout() { shift; "$@"; }
       engine_answers() { false; }; check_machine`,
      /a Docker engine runs, but .* may not use it; run this as root, or 'usermod -aG docker .*/,
    ],
    [
      'a DOCKER_HOST where nobody is',
      'install_engine',
      /no Docker engine answers at DOCKER_HOST=tcp:\/\/127\.0\.0\.1:1; unset it/,
      { DOCKER_HOST: 'tcp://127.0.0.1:1' },
    ],
    [
      'an old Node.js',
      'node() { echo 16.20.2; }; check_node',
      /Node\.js 16\.20\.2 is too old.*; install Node\.js \d+ or/,
    ],
    ['no Node.js', 'node() { return 127; }; check_node', /Node\.js is missing; install/],
    ['no npm', 'have() { [ "$1" != npm ]; }; check_node', /npm is missing; install it/],
    [
      'a registry of npm that does not answer',
      `ROOT=$HOME; npm() { [ "$1" = config ] && echo http://registry; }; install_deps`,
      /npm's registry, http:\/\/registry, cannot be reached; check this machine's network/,
    ],
    ['a relative MILLIBOX_HOME', 'prepare_home', /MILLIBOX_HOME is 'here'; it must be/, { MILLIBOX_HOME: 'here' }],
    [
      'a MILLIBOX_HOME in a file',
      'prepare_home',
      /cannot write to \/dev\/null\/x; set/,
      { MILLIBOX_HOME: '/dev/null/x' },
    ],
    ['a wrong MILLIBOX_REGISTRY', 'prepare_home', /MILLIBOX_REGISTRY is 'no'; it must be/, { MILLIBOX_REGISTRY: 'no' }],
    [
      'no registry, and nothing to build an image with',
      'image_ready() { false; }; image_from_registry() { false; }; is_root() { false; }; make_image',
      /no base image: .*'docker load'/,
    ],
  ])('%s', async ([, lines, says, env]) => {
    const { status, stderr } = await setup(lines, env);
    expect(status).toBe(1);
    const told = stderr.split('\n').filter((line) => line.startsWith('millibox set-up: '));
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(says);
  });

  test.each([
    ['E: Failed to fetch http://deb.debian.org/x  Could not connect to deb.debian.org:80', /mirror cannot be reached/],
    ["W: Temporary failure resolving 'deb.debian.org'", /mirror cannot be reached/],
    ['tar: ./usr/bin/x: Cannot write: No space left on device', /the disk is full/],
    ["E: You don't have enough free space in /var/cache/apt/archives/.", /the disk is full/],
    ['E: something else', /its log is /],
  ])('a log that ends with %j', async (line, says) => {
    const log = path.join(scratch, 'some.log');
    writeFileSync(log, `before\n${line}\n`);
    expect((await setup(`reason ${log}`)).stdout).toMatch(says);
  });
});

test('a long command shows its duration and its latest output, and leaves nothing that holds the output open', async () => {
  const log = path.join(scratch, 'long.log');
  const lines = `PATIENCE_SECONDS=0.2; patiently ${log} sh -c 'echo first; echo second; sleep 1; exit 7' || exit $?`;
  const { status, stdout, stderr } = await setup(lines);
  expect({ status, stdout }).toEqual({ status: 7, stdout: '' });
  expect(stderr).toMatch(/^ {4}\d+ s: second$/m);
});
