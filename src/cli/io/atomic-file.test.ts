import {
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeFileAtomically } from './atomic-file.ts';

let home: string;
beforeEach(() => void (home = mkdtempSync(join(tmpdir(), 'land-'))));
afterEach(() => rmSync(home, { recursive: true }));

const { signal } = new AbortController();
async function* bytes(...pieces: (string | Error)[]): AsyncGenerator<Buffer> {
  for (const piece of pieces) {
    if (piece instanceof Error) throw piece;
    yield Buffer.from(piece);
  }
}

test('parent directories are created, and a name of 255 bytes works', async () => {
  const target = join(home, 'a/b', 'n'.repeat(255));
  await writeFileAtomically(bytes('one', 'two'), target, { mode: 0o640, signal });
  expect(readFileSync(target, 'utf8')).toBe('onetwo');
  expect(statSync(target).mode & 0o777).toBe(0o640);
});

test('a write that fails or is aborted leaves the old content and nothing else', async () => {
  const target = join(home, 'file');
  writeFileSync(target, 'before');
  await expect(writeFileAtomically(bytes('half', new Error('cut')), target, { mode: 0o644, signal })).rejects.toThrow(
    'cut',
  );
  const stop = new AbortController();
  const stalled = (async function* () {
    yield Buffer.from('half');
    stop.abort(new Error('ended'));
    await new Promise((_, reject) => setImmediate(() => reject(stop.signal.reason as Error)));
  })();
  await expect(writeFileAtomically(stalled, target, { mode: 0o644, signal: stop.signal })).rejects.toThrow();
  expect(readFileSync(target, 'utf8')).toBe('before');
  expect(readdirSync(home)).toEqual(['file']);
});

test('an existing file gets the mode of its replacement, less the umask, and keeps its owner', async () => {
  const target = join(home, 'file');
  writeFileSync(target, 'before', { mode: 0o600 });
  const isRoot = process.getuid?.() === 0;
  if (isRoot) chownSync(target, 7, 8);
  const { uid, gid } = statSync(target);
  await writeFileAtomically(bytes('after'), target, { mode: 0o4751, signal });
  const { mode, ...now } = statSync(target);
  expect({ mode: mode & 0o7777, uid: now.uid, gid: now.gid }).toEqual({ mode: 0o751 & ~process.umask(), uid, gid });
});

test('a link stays a link, and its target is replaced', async () => {
  writeFileSync(join(home, 'real'), 'before');
  symlinkSync('real', join(home, 'link'));
  await writeFileAtomically(bytes('after'), join(home, 'link'), { mode: 0o644, signal });
  expect(lstatSync(join(home, 'link')).isSymbolicLink()).toBe(true);
  expect(readFileSync(join(home, 'real'), 'utf8')).toBe('after');
});

test('a device stays a device', async () => {
  const link = join(home, 'null');
  symlinkSync('/dev/null', link);
  await writeFileAtomically(bytes('gone'), link, { mode: 0o644, signal });
  expect(statSync(link).isCharacterDevice()).toBe(true);
  expect(readdirSync(home)).toEqual(['null']);
});

test('an error names the target, and nothing is left behind', async () => {
  writeFileSync(join(home, 'file'), 'before');
  const refused = async (target: string): Promise<string> =>
    await writeFileAtomically(bytes('new'), target, { mode: 0o644, signal }).then(
      () => 'written',
      (error: Error) => error.message,
    );
  for (const name of ['none/', 'file/'])
    expect(await refused(`${home}/${name}`)).toBe(`${home}/${name} is not a directory`);
  const long = join(home, 'n'.repeat(256));
  expect(await refused(long)).toBe(`${long}: ENAMETOOLONG: name too long`);
  expect(readdirSync(home)).toEqual(['file']);
});

test('a link to a file that does not exist yet is written through, and one to itself is refused', async () => {
  const target = join(home, 'link');
  mkdirSync(join(home, 'elsewhere'));
  symlinkSync('elsewhere', join(home, 'dir'));
  symlinkSync('dir/next', target);
  symlinkSync('../file', join(home, 'elsewhere/next'));
  await writeFileAtomically(bytes('through'), target, { mode: 0o644, signal });
  expect(readFileSync(join(home, 'file'), 'utf8')).toBe('through');
  expect(lstatSync(target).isSymbolicLink()).toBe(true);

  symlinkSync('loop', join(home, 'loop'));
  await expect(writeFileAtomically(bytes('x'), join(home, 'loop'), { mode: 0o644, signal })).rejects.toThrow('links');
  expect(readdirSync(home).toSorted()).toEqual(['dir', 'elsewhere', 'file', 'link', 'loop']);
});
