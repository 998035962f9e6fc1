/** A sandbox's files, read and written from outside. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Sandbox } from '../../src/sdk/index.ts';
import { cli } from '../helpers/cli.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';

let stack: TestStack;
let sandbox: Sandbox;
let directory: string;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'files-'));
  stack = await startStack({ pool: 1 });
  sandbox = await stack.client.sandboxes.create({ memoryMb: 1024, timeoutMs: 3_600_000 });
});
afterAll(async () => {
  rmSync(directory, { recursive: true, force: true });
  await stack?.stop();
});

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const shaInside = async (path: string): Promise<string> =>
  (await sandbox.exec(['sha256sum', '--', path], { check: true })).stdout.replace(/^\\/, '').slice(0, 64);

describe('bytes arrive as they were sent', () => {
  test.each([0, 1, 18_000, 18_500, 131_072, 1_048_575, 1_048_577, 17 * 1024 * 1024])(
    'a file of %i bytes',
    async (size) => {
      const bytes = randomBytes(size);
      const path = `/tmp/up/size-${size}`;
      const written = await sandbox.files.write(path, bytes);
      expect(written.sizeBytes).toBe(size);
      expect(await shaInside(path)).toBe(sha256(bytes));
      expect((await sandbox.files.read(path)).equals(bytes)).toBe(true);
    },
  );

  test('all byte values, a byte order mark, CRLF and invalid UTF-8 pass unchanged', async () => {
    const bytes = Buffer.concat([
      Buffer.from([0xef, 0xbb, 0xbf]),
      Buffer.from('a\r\nb\r\n'),
      Buffer.from(Array.from({ length: 256 }, (_, i) => i)),
      Buffer.from([0xc3, 0x28, 0xff]),
    ]);
    await sandbox.files.write('/tmp/raw', bytes);
    expect((await sandbox.files.read('/tmp/raw')).equals(bytes)).toBe(true);
  });

  test('ranges work, even of files that report a size of zero', async () => {
    await sandbox.files.write('/tmp/range', '0123456789');
    expect((await sandbox.files.read('/tmp/range', { offset: 3, length: 4 })).toString()).toBe('3456');
    expect((await sandbox.files.read('/proc/version')).toString()).toMatch(/^Linux version/);
  });

  test('reading a file that grows returns a prefix, and does not hang', async () => {
    const writer = sandbox.exec('for i in $(seq 1 2000); do echo line $i; done >> /tmp/grows; sleep 0.2; exit 0');
    await expect.poll(() => sandbox.files.exists('/tmp/grows')).toBe(true);
    const seen = (await sandbox.files.read('/tmp/grows')).toString();
    await writer;
    expect((await sandbox.files.read('/tmp/grows')).toString().startsWith(seen)).toBe(true);
  });
});

test.each([
  'a b+c%20d?e#f&g.txt',
  '-rf',
  `'q".txt`,
  'nl\nx',
  'n'.repeat(255),
  'e\u0301',
  '😀',
  '..hidden',
  'trailing ',
  'C:\\x',
])('the name %j is stored and read under exactly those bytes', async (name) => {
  const path = `/tmp/names/${name}`;
  await sandbox.files.write(path, name);
  expect(await sandbox.files.readText(path)).toBe(name);
  const listed = (await sandbox.files.list('/tmp/names')).map((entry) => entry.name);
  expect(listed).toContain(name);
});

test('a write replaces a file atomically: a reader sees the old or the new one, never a part', async () => {
  await sandbox.files.write('/tmp/swap', 'old'.repeat(100_000));
  const reader = sandbox.exec(`for i in $(seq 1 200); do wc -c < /tmp/swap; done | tr -d ' ' | sort | uniq`);
  for (let i = 0; i < 20; i++) await sandbox.files.write('/tmp/swap', (i % 2 ? 'old' : 'newer').repeat(100_000));
  const sizes = (await reader).stdout.trim().split('\n');
  expect(sizes.every((size) => size === '300000' || size === '500000')).toBe(true);
});

test('errors state what is wrong', async () => {
  await expect(sandbox.files.read('/no/such')).rejects.toMatchObject({ code: 'file_not_found' });
  await expect(sandbox.files.read('/tmp')).rejects.toMatchObject({ code: 'file_not_regular' });
  await expect(sandbox.files.list('/etc/passwd')).rejects.toMatchObject({ code: 'file_not_directory' });
  await sandbox.exec('mkfifo /tmp/fifo', { check: true });
  await expect(sandbox.files.read('/tmp/fifo')).rejects.toMatchObject({ code: 'file_not_regular' });
});

test('directories are created, listed, moved and removed', async () => {
  await sandbox.files.mkdir('/tmp/d/e/f');
  await sandbox.files.write('/tmp/d/e/f/g', 'x', { mode: 0o640 });
  expect(await sandbox.files.stat('/tmp/d/e/f/g')).toMatchObject({ kind: 'file', sizeBytes: 1, mode: 0o640 });
  await sandbox.files.move('/tmp/d/e', '/tmp/d/h');
  expect(await sandbox.files.readText('/tmp/d/h/f/g')).toBe('x');
  await sandbox.files.remove('/tmp/d', { recursive: true });
  expect(await sandbox.files.exists('/tmp/d')).toBe(false);
});

test('a complete tree moves between file systems, and commands run meanwhile', async () => {
  const make =
    'mkdir -p /dev/shm/t/sub && head -c 30000000 /dev/urandom > /dev/shm/t/sub/big && ln -s sub/big /dev/shm/t/l';
  await sandbox.exec(make, { check: true });
  expect((await sandbox.exec('stat -c %d /dev/shm /root | uniq | wc -l')).stdout.trim()).toBe('2');
  const before = await shaInside('/dev/shm/t/l');
  const moved = sandbox.files.move('/dev/shm/t', '/root/t');
  expect((await sandbox.exec('echo alive')).stdout).toBe('alive\n');
  await moved;
  expect(await shaInside('/root/t/l')).toBe(before);
  expect(await sandbox.files.exists('/dev/shm/t')).toBe(false);
  expect(
    (await sandbox.files.list('/root')).map(({ name }) => name).filter((name) => name.includes('millibox')),
  ).toEqual([]);
});

test('a whole tree is watched, without temporary names', async () => {
  await sandbox.files.mkdir('/srv/watched/old');
  const stop = new AbortController();
  const seen: string[] = [];
  const ended = (async () => {
    for await (const { kind, path } of sandbox.files.watch('/srv/watched', { recursive: true, signal: stop.signal })) {
      seen.push(`${kind} ${path}`);
    }
  })();
  ended.catch(() => undefined);
  // Until it is being watched, changes are not reported.
  await expect
    .poll(
      async () => {
        await sandbox.files.write('/srv/watched/old/first', 'x');
        return seen.length;
      },
      { timeout: 60_000 },
    )
    .toBeGreaterThan(0);
  await sandbox.files.write('/srv/watched/new/deep/last', 'x');
  await expect.poll(() => seen, { timeout: 60_000 }).toContain('create /srv/watched/new/deep/last');
  expect(seen.filter((line) => line.includes('.millibox-'))).toEqual([]);
  stop.abort();
  await expect(ended).rejects.toBe(stop.signal.reason);
});

test('an upload belongs to the named owner, with its new parents, and keeps the mode of a replaced file', async () => {
  await sandbox.files.write('/srv/app/a/b/c.txt', 'x', { owner: '10001:10001' });
  const stat = await sandbox.exec('stat -c "%u %g" /srv/app/a/b /srv/app/a/b/c.txt', { check: true });
  expect(stat.stdout).toBe('10001 10001\n10001 10001\n');
  const own = { user: '10001:10001', check: true };
  await sandbox.exec('echo y >> /srv/app/a/b/c.txt && rm -rf /srv/app/a/b', own);
  await sandbox.exec('printf "#!/bin/sh" > /tmp/script && chmod 755 /tmp/script', { check: true });
  await sandbox.files.write('/tmp/script', '#!/bin/sh\necho new\n');
  expect((await sandbox.exec(['/tmp/script'])).stdout).toBe('new\n');
});

describe('millibox cp', () => {
  test('copies a file in and out, under its own name into a directory', async () => {
    const bytes = randomBytes(300_000);
    writeFileSync(join(directory, 'one.bin'), bytes, { mode: 0o755 });
    expect(await cli(stack, ['cp', join(directory, 'one.bin'), `${sandbox.id}:/tmp`])).toMatchObject({
      code: 0,
      stderr: '',
    });
    expect(await shaInside('/tmp/one.bin')).toBe(sha256(bytes));
    expect((await sandbox.files.stat('/tmp/one.bin')).mode & 0o777).toBe(0o755);
    expect(await cli(stack, ['cp', `${sandbox.id}:/tmp/one.bin`, join(directory, 'back.bin')])).toMatchObject({
      code: 0,
    });
    expect(readFileSync(join(directory, 'back.bin')).equals(bytes)).toBe(true);
  });

  test('copies a tree in and out', async () => {
    const tree = join(directory, 'tree');
    mkdirSync(join(tree, 'sub dir'), { recursive: true });
    writeFileSync(join(tree, 'sub dir', 'ü'), 'deep');
    writeFileSync(join(tree, 'top'), 'top');
    symlinkSync('top', join(tree, 'link'));
    expect(await cli(stack, ['cp', tree, `${sandbox.id}:/tmp/copied`])).toMatchObject({ code: 0, stderr: '' });
    expect((await sandbox.exec('cat "/tmp/copied/sub dir/ü" /tmp/copied/link')).stdout).toBe('deeptop');
    const back = join(directory, 'back');
    expect(await cli(stack, ['cp', `${sandbox.id}:/tmp/copied`, back])).toMatchObject({ code: 0, stderr: '' });
    expect(readFileSync(join(back, 'sub dir', 'ü'), 'utf8')).toBe('deep');
    expect(readFileSync(join(back, 'link'), 'utf8')).toBe('top');
  });

  test('- is stdin and stdout', async () => {
    expect(await cli(stack, ['cp', '-', `${sandbox.id}:/tmp/piped`], 'through a pipe')).toMatchObject({ code: 0 });
    const out = await cli(stack, ['cp', `${sandbox.id}:/tmp/piped`, '-']);
    expect(out.stdout.toString()).toBe('through a pipe');
  });

  test('a missing path is an error that names it', async () => {
    const { code, stderr } = await cli(stack, ['cp', `${sandbox.id}:/no/such`, join(directory, 'never')]);
    expect(code).not.toBe(0);
    expect(stderr).toContain('file_not_found');
  });
});
