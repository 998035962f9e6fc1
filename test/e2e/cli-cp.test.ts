/** `millibox cp` as seen by a shell or a script. */
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Sandbox } from '../../src/sdk/index.ts';
import { cli, finished, startCli } from '../helpers/cli.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { until } from '../helpers/until.ts';

const LIMIT_MS = 60_000;
let stack: TestStack;
let sandbox: Sandbox;
let here: string;
beforeAll(async () => {
  here = mkdtempSync(join(tmpdir(), 'cp-'));
  stack = await startStack({ pool: 1 });
  sandbox = await stack.client.sandboxes.create({ timeoutMs: 3_600_000 });
});
afterAll(async () => {
  await stack?.stop();
  await rm(here, { recursive: true });
});

const cp = async (from: string, to: string, input?: Buffer) => await cli(stack, ['cp', from, to], input);
const there = (path: string): string => `${sandbox.id}:${path}`;

test('files are copied exactly in both directions, whatever their names', async () => {
  const bytes = Buffer.from(Array.from({ length: 100_003 }, (_, i) => (i * 31 + (i >> 7)) & 255));
  const names = ['n'.repeat(255), ' a b+c%20d?e#f&g ', '-rf', 'nl\nx', 'q\'"é中😀', 'back\\slash'];
  await Promise.all(
    names.map(async (name, i) => {
      const mine = join(here, `names-${i}`);
      mkdirSync(mine);
      writeFileSync(join(mine, name), bytes, { mode: 0o750 });
      expect(await cp(join(mine, name), there('/tmp/'))).toMatchObject({ code: 0, stderr: '' });
      expect(await cp(there(`/tmp/${name}`), join(mine, 'back'))).toMatchObject({ code: 0, stderr: '' });
      expect(readFileSync(join(mine, 'back')).equals(bytes)).toBe(true);
      expect(statSync(join(mine, 'back')).mode & 0o777).toBe(0o750);
    }),
  );
  expect((await cp('-', there('/tmp/piped'), bytes)).code).toBe(0);
  expect((await cp(there('/tmp/piped'), '-')).stdout.equals(bytes)).toBe(true);
});

test("a tree from a sandbox brings no program that runs with the copying user's rights", async () => {
  await sandbox.exec('mkdir -p /tmp/bad; cp /bin/sh /tmp/bad/sh; chmod 6755 /tmp/bad/sh; chmod 1777 /tmp/bad');
  expect((await cp(there('/tmp/bad'), join(here, 'bad'))).code).toBe(0);
  expect(statSync(join(here, 'bad/sh')).mode & 0o7777).toBe(0o755);
});

test('a directory without a name of its own is copied as its content, and into nothing else', async () => {
  mkdirSync(join(here, 'tree/below'), { recursive: true });
  writeFileSync(join(here, 'tree/one'), '1');
  await sandbox.exec('mkdir -p /tmp/into/this');
  expect((await cp(`${join(here, 'tree/below')}/..`, there('/tmp/into/this'))).code).toBe(0);
  expect((await sandbox.exec('cd /tmp/into; find . | sort', { check: true })).stdout).toBe(
    './this\n./this/below\n./this/one\n'.replace(/^/, '.\n'),
  );
});

test('directories keep modes and times both ways, and existing ones keep their own', async () => {
  const tree = join(here, 'timed');
  mkdirSync(join(tree, 'in/ner'), { recursive: true });
  writeFileSync(join(tree, 'in/ner/file'), 'x');
  const directories = [
    ['in/ner', 0o755, 1_000_000_001],
    ['in', 0o700, 1_000_000_002],
    ['', 0o750, 1_000_000_003],
  ] as const;
  for (const [path, mode, seconds] of directories) {
    chmodSync(join(tree, path), mode);
    utimesSync(join(tree, path), seconds, seconds);
  }
  expect(await cp(tree, there('/tmp/timed'))).toMatchObject({ code: 0, stderr: '' });
  const script = 'cd /tmp/timed; stat -c "%a %Y" in/ner in .; chmod 1777 .; touch -d @7 .';
  const { stdout } = await sandbox.exec(script, { check: true });
  expect(stdout).toBe('755 1000000001\n700 1000000002\n750 1000000003\n');
  expect(await cp(`${tree}/.`, there('/tmp/timed'))).toMatchObject({ code: 0, stderr: '' });
  expect((await sandbox.exec('stat -c %a /tmp/timed', { check: true })).stdout).toBe('1777\n');
  await sandbox.exec('cd /tmp/timed; chmod 550 .; touch -d @1000000001 in/ner; touch -d @1000000004 .', {
    check: true,
  });

  const back = join(here, 'timed-back/new');
  expect(await cp(there('/tmp/timed'), back)).toMatchObject({ code: 0, stderr: '' });
  const found = (path: string): [number, number] => [
    statSync(join(back, path)).mode & 0o7777,
    statSync(join(back, path)).mtimeMs / 1000,
  ];
  expect(['in/ner', 'in', ''].map(found)).toEqual([
    [0o755, 1_000_000_001],
    [0o700, 1_000_000_002],
    [0o550, 1_000_000_004],
  ]);
});

test('a file keeps mode and time both ways, and an existing file keeps its owner', async () => {
  const mine = join(here, 'timed-file');
  writeFileSync(mine, 'x');
  chmodSync(mine, 0o640);
  utimesSync(mine, 1_000_000_001, 1_000_000_001);
  await sandbox.exec('mkdir -p /tmp/one/far; cd /tmp/one; echo old > theirs; chown 7:8 theirs; ln -s far/real link', {
    check: true,
  });
  for (const name of ['new', 'below/new', 'theirs', 'link', 'link']) {
    expect(await cp(mine, there(`/tmp/one/${name}`))).toMatchObject({ code: 0, stderr: '' });
  }
  const list =
    'cd /tmp/one; stat -c "%n %a %Y %u:%g %F" new below/new theirs far/real; readlink link; ls -A . far below';
  const { stdout } = await sandbox.exec(list, { check: true });
  expect(stdout.split('\n').slice(0, 5)).toEqual([
    'new 640 1000000001 0:0 regular file',
    'below/new 640 1000000001 0:0 regular file',
    'theirs 640 1000000001 7:8 regular file',
    'far/real 640 1000000001 0:0 regular file',
    'far/real',
  ]);
  expect(stdout).not.toContain('.millibox');
  expect((await cli(stack, ['cp', '-u', '9:9', mine, there('/tmp/one/theirs')])).code).toBe(0);
  expect((await sandbox.exec('stat -c %u:%g /tmp/one/theirs')).stdout).toBe('9:9\n');

  await sandbox.exec('touch -d @1000000002.5 /tmp/one/new', { check: true });
  writeFileSync(join(here, 'was-there'), 'old', { mode: 0o600 });
  for (const name of ['back', 'was-there']) {
    expect(await cp(there('/tmp/one/new'), join(here, name))).toMatchObject({ code: 0, stderr: '' });
    const { mtimeMs, mode } = statSync(join(here, name));
    expect({ mtimeMs, mode: mode & 0o7777 }).toEqual({ mtimeMs: 1_000_000_002_500, mode: 0o640 });
  }
});

test('files copied into a sandbox belong to root, alone or in a tree, unless told otherwise', async () => {
  const mine = join(here, 'owned');
  mkdirSync(join(mine, 'sub'), { recursive: true });
  writeFileSync(join(mine, 'sub/file'), 'x');
  symlinkSync('file', join(mine, 'sub/link'));
  for (const path of ['sub', 'sub/file', 'sub/link', '']) lchownSync(join(mine, path), 1_234, 1_234);
  const owners = async (place: string): Promise<string> =>
    (await sandbox.exec(`find ${place} ${place}-file -printf "%U:%G\\n" | sort -u`, { check: true })).stdout;
  for (const [place, options, owner] of [
    ['/tmp/owned', [], '0:0\n'],
    ['/tmp/owned-by', ['-u', '7:8'], '7:8\n'],
  ] as const) {
    expect(await cli(stack, ['cp', ...options, mine, there(place)])).toMatchObject({ code: 0, stderr: '' });
    const file = await cli(stack, ['cp', ...options, join(mine, 'sub/file'), there(`${place}-file`)]);
    expect(file).toMatchObject({ code: 0, stderr: '' });
    expect(await owners(place)).toBe(owner);
  }
});

test('a file of any size arrives complete, be it empty, large, or generated by the kernel as it is read', async () => {
  for (const size of [0, 1, 1024 * 1024, 1024 * 1024 + 1, 5_000_000]) {
    writeFileSync(join(here, 'sized'), Buffer.alloc(size, 'ab'));
    expect(await cp(join(here, 'sized'), there('/tmp/sized'))).toMatchObject({ code: 0, stderr: '' });
    expect(await sandbox.files.read('/tmp/sized')).toEqual(Buffer.alloc(size, 'ab'));
  }
  expect(await cp('/proc/version', there('/tmp/version'))).toMatchObject({ code: 0, stderr: '' });
  expect(await sandbox.files.readText('/tmp/version')).toBe(readFileSync('/proc/version', 'utf8'));
});

test('devices, pipes and paths that cannot name a file are left as they are', async () => {
  await sandbox.exec('mkfifo /tmp/pipe', { check: true });
  for (const path of ['/dev/null', '/tmp/pipe', '/tmp/none/', '/tmp/none/.', '/tmp/none/..']) {
    const { code, stderr } = await cp('/etc/hostname', there(path));
    expect(code).toBe(255);
    expect(stderr).toMatch(/^millibox: .*\n$/);
  }
  const { stdout } = await sandbox.exec('stat -c %F /dev/null /tmp/pipe; ls -d /tmp/none');
  expect(stdout).toBe('character special file\nfifo\n');
});

test('an error names the requested path, and a dangling link is written through', async () => {
  const target = `${join(here, 'no-such')}/`;
  expect(await cp(there('/etc/hostname'), target)).toMatchObject({
    code: 1,
    stderr: `millibox: ${target} is not a directory\n`,
  });
  await sandbox.exec('ln -s later /tmp/dangling', { check: true });
  expect((await cp('-', there('/tmp/dangling'), Buffer.from('1'))).code).toBe(0);
  await sandbox.exec('rm /tmp/later', { check: true });
  writeFileSync(join(here, 'later'), '2');
  expect(await cp(join(here, 'later'), there('/tmp/dangling'))).toMatchObject({ code: 0, stderr: '' });
  expect((await sandbox.exec('cat /tmp/later', { check: true })).stdout).toBe('2');
});

test('an interrupted copy leaves nothing behind, on either side', async () => {
  await sandbox.exec('head -c 300000000 /dev/zero > /tmp/large', { check: true });
  const mine = join(here, 'interrupted');
  mkdirSync(mine);
  const down = startCli(stack, ['cp', there('/tmp/large'), join(mine, 'large')]);
  const downEnded = finished(down);
  await until(() => readdirSync(mine).length > 0, LIMIT_MS, 'the download to begin');
  down.kill('SIGINT');
  expect((await downEnded).code).toBe(130);
  expect(readdirSync(mine)).toEqual([]);

  const up = startCli(stack, ['cp', '-', there('/tmp/up/file')]);
  const upEnded = finished(up);
  up.stdin?.write(Buffer.alloc(100_000));
  await until(async () => (await sandbox.exec('ls -A /tmp/up')).stdout !== '', LIMIT_MS, 'the upload to begin');
  up.kill('SIGTERM');
  expect((await upEnded).code).toBe(143);
  await until(async () => (await sandbox.exec('ls -A /tmp/up')).stdout === '', LIMIT_MS, 'the upload to be undone');
  await sandbox.exec('rm /tmp/large');
});

test('anything but a file is refused at once, and nothing is created', async () => {
  await sandbox.exec('mkfifo /tmp/fifo', { check: true });
  for (const path of ['/tmp/fifo', '/dev/zero', '/nowhere']) {
    const { code, stderr } = await cp(there(path), join(here, 'none'));
    expect(code).toBe(255);
    expect(stderr).toMatch(/^millibox: .*\n$/);
  }
  expect(existsSync(join(here, 'none'))).toBe(false);
});

test('a directory is not copied onto a file, which is left unchanged', async () => {
  const target = join(here, 'a-file');
  writeFileSync(target, 'mine');
  const { code, stderr } = await cp(there('/etc/apt'), target);
  expect({ code, stderr }).toEqual({ code: 1, stderr: `millibox: /etc/apt is a directory, and ${target} is not\n` });
  expect(readFileSync(target, 'utf8')).toBe('mine');
});

test('a copy to stdout ends quietly when its reader closes', async () => {
  const child = startCli(stack, ['cp', there('/bin/sh'), '-']);
  const ended = finished(child);
  await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
  child.stdout?.destroy();
  const { code, stderr } = await ended;
  expect([0, 141]).toContain(code);
  expect(stderr).toBe('');
});
