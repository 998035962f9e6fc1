/** Images unlike a distribution's, by accident or on purpose. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Bench, run } from '../../../agent/runtime/contract/subject.ts';
import { codeOf } from '../../../agent/testing/code-of.ts';
import type { Image } from '../../../agent/runtime/runtime.ts';
import { bareTar } from '../../helpers/images.ts';
import { until } from '../../helpers/until.ts';
import { ociSubject } from './subject.ts';

const exec = promisify(execFile);
const LIMIT_MS = 60_000;

let bench: Bench;
let home: string;
beforeAll(async () => {
  bench = await Bench.open(ociSubject());
  home = mkdtempSync(path.join(tmpdir(), 'mbx-odd-'));
});
afterAll(async () => {
  await bench[Symbol.asyncDispose]();
  rmSync(home, { recursive: true, force: true });
});

let made = 0;

/** The bare image, with `/true` in it, after `change` has modified its root. */
async function imageWith(change: (root: string) => Promise<void> | void): Promise<Image> {
  made += 1;
  const root = path.join(home, `root-${made}`);
  mkdirSync(root);
  const { tar, dispose } = await bareTar();
  try {
    await exec('tar', ['-C', root, '-xf', tar]);
  } finally {
    dispose();
  }
  await change(root);
  const archive = path.join(home, `image-${made}.tar`);
  await exec('tar', ['-C', root, '-cf', archive, '.']);
  const image = await bench.runtime.images.importTar?.(`odd/image:${made}`, archive);
  if (image === undefined) throw new Error('images cannot be imported');
  return image;
}

async function read(link: Parameters<typeof run>[0], file: string): Promise<string> {
  const answer = await link.call({ op: 'file', call: 'stat', path: file, follow: false });
  return String(answer['kind']);
}

test('an image with a single program and no directories runs it', async () => {
  const image = await imageWith(() => undefined);
  const { link } = await bench.claimed({ image });
  expect((await run(link, ['/true'])).exit.exitCode).toBe(0);
  for (const directory of ['/proc', '/sys', '/dev', '/etc']) expect(await read(link, directory)).toBe('directory');
  expect(await read(link, '/etc/hosts')).toBe('file');
});

test('links, pipes and directories in place of the files that every sandbox gets do no harm', async () => {
  const image = await imageWith(async (root) => {
    mkdirSync(path.join(root, 'etc', 'hostname'), { recursive: true });
    await exec('mkfifo', [path.join(root, 'etc', 'hosts')]);
    symlinkSync('../kept', path.join(root, 'etc', 'resolv.conf'));
    writeFileSync(path.join(root, 'kept'), 'as it was');
  });
  const { link } = await bench.claimed({ image });
  expect((await run(link, ['/true'])).exit.exitCode).toBe(0);
  expect(await read(link, '/etc/hosts')).toBe('file');
  expect(await read(link, '/etc/resolv.conf')).toBe('file');
  expect(await read(link, '/etc/hostname')).toBe('file');
  expect((await link.call({ op: 'file', call: 'stat', path: '/kept' }))['sizeBytes']).toBe('as it was'.length);
});

test("the directory of these files keeps the image's owner, rights and other content", async () => {
  const image = await imageWith(async (root) => {
    mkdirSync(path.join(root, 'etc'));
    writeFileSync(path.join(root, 'etc', 'kept'), 'kept');
    await exec('chown', ['33:44', path.join(root, 'etc')]);
    await exec('chmod', ['1751', path.join(root, 'etc')]);
  });
  const { link } = await bench.claimed({ image });
  const etc = await link.call({ op: 'file', call: 'stat', path: '/etc' });
  expect(etc).toMatchObject({ kind: 'directory', uid: 33, gid: 44, mode: 0o1751 });
  expect(await read(link, '/etc/kept')).toBe('file');
  expect(await link.call({ op: 'file', call: 'stat', path: '/etc/hosts' })).toMatchObject({ uid: 0, mode: 0o644 });
});

test('if /etc is a link to a directory of the image, they are in that directory', async () => {
  const image = await imageWith((root) => {
    mkdirSync(path.join(root, 'usr', 'etc'), { recursive: true });
    writeFileSync(path.join(root, 'usr', 'etc', 'kept'), 'kept');
    symlinkSync('usr/etc', path.join(root, 'etc'));
  });
  const { link } = await bench.claimed({ image });
  expect(await read(link, '/etc')).toBe('symlink');
  for (const name of ['kept', 'hosts', 'hostname']) expect(await read(link, `/usr/etc/${name}`)).toBe('file');
});

test('a link in place of /etc leads to nothing of the supervisor', async () => {
  for (const target of ['/proc/self/fd', '/proc/self/fd/5', '/proc/1/root', '/proc/self/cwd/..', '../../../..']) {
    const image = await imageWith((root) => symlinkSync(target, path.join(root, 'etc')));
    const { container, link } = await bench.claimed({ image });
    expect((await run(link, ['/true'])).exit.exitCode).toBe(0);
    const home = path.join(bench.dataDir, 'c', container.id);
    const { stdout } = await exec('find', [home, '-name', 'hosts', '-o', '-name', 'hostname']);
    expect(stdout).toBe('');
  }
});

test('an image in which /proc, /sys or /dev is no directory is refused, and its container ends', async () => {
  for (const name of ['proc', 'sys', 'dev']) {
    const image = await imageWith((root) => symlinkSync('/', path.join(root, name)));
    const launched = await bench.launch();
    expect(await codeOf(bench.claim(launched, { image }))).toBe('image_invalid');
    const { id } = launched.container;
    const running = async (): Promise<boolean> =>
      (await bench.runtime.list()).some((each) => each.id === id && each.running);
    await until(async () => !(await running()), LIMIT_MS, 'the container to end');
  }
});

test("user and group files that fill boxinit's read limit cost no more than their size", async () => {
  const image = await imageWith((root) => {
    mkdirSync(path.join(root, 'etc'));
    writeFileSync(path.join(root, 'etc', 'passwd'), 'a:b:0:0::::\n'.repeat(400_000));
    writeFileSync(path.join(root, 'etc', 'group'), `a:x:1:${'b,'.repeat(2_500_000)}\n`);
  });
  const limits = { cpus: 1, memoryMb: 32, diskMb: null, pidsLimit: 64 };
  const { link } = await bench.claimed({ image, limits });
  for (const user of ['a', '1000', '1000:1']) expect((await run(link, ['/true'], { user })).exit.exitCode).toBe(0);
});

test("an image's missing working directory is created, and never outside of the sandbox", async () => {
  const image = await imageWith((root) => symlinkSync('/proc/self/fd/5', path.join(root, 'away')));
  const { link } = await bench.claimed({ image: { ...image, workdir: '/a/b/c' } });
  expect(await read(link, '/a/b/c')).toBe('directory');
  expect((await run(link, ['/true'], { cwd: '/a/b/c' })).exit.exitCode).toBe(0);
  const launched = await bench.launch();
  await codeOf(bench.claim(launched, { image: { ...image, workdir: '/away/../made-outside' } }));
  const { stdout } = await exec('find', [bench.dataDir, '-name', 'made-outside', '-not', '-path', '*/upper/*']);
  expect(stdout).toBe('');
});

test("a working directory that is a dangling link is created at the link's target, as in Docker", async () => {
  const image = await imageWith((root) => {
    symlinkSync('/data/one', path.join(root, 'absolute'));
    symlinkSync('data/two', path.join(root, 'relative'));
    symlinkSync('loop', path.join(root, 'loop'));
  });
  for (const [workdir, made] of [
    ['/absolute', '/data/one'],
    ['/absolute/below', '/data/one/below'],
    ['/relative/below', '/data/two/below'],
  ] as const) {
    const { link } = await bench.claimed({ image: { ...image, workdir } });
    expect(await read(link, made)).toBe('directory');
    expect((await run(link, ['/true'], { cwd: workdir })).exit.exitCode).toBe(0);
  }
  const launched = await bench.launch();
  expect(await codeOf(bench.claim(launched, { image: { ...image, workdir: '/loop/below' } }))).toBe('image_invalid');
});

test("a user whose working directory is root's alone starts there, as in Docker", async () => {
  const image = await imageWith((root) => mkdirSync(path.join(root, 'private'), { mode: 0o700 }));
  const { link } = await bench.claimed({ image });
  expect((await run(link, ['/true'], { cwd: '/private', user: '1000' })).exit.exitCode).toBe(0);
});
