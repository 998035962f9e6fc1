/** What an image from a registry looks like on the node. */
import { execFile } from 'node:child_process';
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Registry } from './registry.ts';
import { because, lacking, openStore, rootOf, type OwnStore } from './store.ts';
import type { Entry } from './tar.ts';

const run = promisify(execFile);

const BASE: Entry[] = [
  { path: 'bin', type: 'dir' },
  { path: 'bin/tool', body: 'tool', mode: 0o4755 },
  { path: 'bin/group-tool', body: 'tool', mode: 0o2755, uid: 5, gid: 7 },
  { path: 'bin/same', type: 'hardlink', target: 'bin/tool' },
  { path: 'bin/link', type: 'symlink', target: '/bin/tool' },
  { path: 'data', type: 'dir', mode: 0o1777 },
  { path: 'data/kept', body: 'of the first layer' },
  { path: 'data/gone', body: 'of the first layer' },
  { path: 'data/replaced', body: 'of the first layer' },
  { path: 'opaque', type: 'dir' },
  { path: 'opaque/below', body: 'of the first layer' },
  { path: 'colored', body: 'x', xattrs: { 'user.color': 'blue' } },
];
const SECOND: Entry[] = [
  { path: 'data', type: 'dir', mode: 0o1777 },
  { path: 'data/.wh.gone' },
  { path: 'data/replaced', body: 'of the second layer' },
  { path: 'opaque', type: 'dir' },
  { path: 'opaque/.wh..wh..opq' },
  { path: 'opaque/above', body: 'of the second layer' },
];
const THIRD: Entry[] = [{ path: 'data/.wh.replaced' }, { path: 'third', body: '3' }];

describe.skipIf(lacking !== '')(`an image of several layers${because}`, () => {
  let registry: Registry;
  let own: OwnStore;
  let id: string;
  let ref: string;
  const at = (path: string): string => join(rootOf(own.store, ref), path);

  beforeAll(async () => {
    registry = await Registry.start();
    own = await openStore();
    const config = { Env: ['PATH=/bin', 'A=1=2', 'EMPTY='], WorkingDir: 'data', User: '5:7' };
    id = await registry.push('team/app:1', { layers: [BASE, SECOND, THIRD], config });
    ref = `${registry.host}/team/app:1`;
    await own.store.ensure(ref, {});
  });

  afterAll(async () => {
    await own?.dispose();
    await registry?.stop();
  });

  test('is identified by the digest of its configuration', () => {
    expect(own.store.get(ref)?.id).toBe(id);
  });

  test('provides environment, working directory and user', () => {
    expect(own.store.get(ref)).toMatchObject({
      ref,
      env: { PATH: '/bin', A: '1=2', EMPTY: '' },
      workdir: '/data',
      user: '5:7',
    });
  });

  test('has what upper layers add, without what they remove', () => {
    expect(readdirSync(at('data'))).toEqual(['kept']);
    expect(readFileSync(at('data/kept'), 'utf8')).toBe('of the first layer');
    expect(readFileSync(at('third'), 'utf8')).toBe('3');
  });

  test('hides everything below an opaque directory', () => {
    expect(readdirSync(at('opaque'))).toEqual(['above']);
  });

  test('keeps hard links, symlinks, modes and owners', () => {
    expect(lstatSync(at('bin/same')).ino).toBe(lstatSync(at('bin/tool')).ino);
    expect(readlinkSync(at('bin/link'))).toBe('/bin/tool');
    expect(lstatSync(at('bin/tool')).mode & 0o7777).toBe(0o4755);
    expect(lstatSync(at('bin/group-tool'))).toMatchObject({ uid: 5, gid: 7 });
    expect(lstatSync(at('bin/group-tool')).mode & 0o7777).toBe(0o2755);
    expect(lstatSync(at('data')).mode & 0o7777).toBe(0o1777);
  });

  test('keeps extended attributes', async () => {
    const tar = ['--xattrs', '--xattrs-include=*', '-cf', '-', '-C', rootOf(own.store, ref), 'colored'];
    expect((await run('tar', tar)).stdout).toContain('SCHILY.xattr.user.color=blue');
  });

  test('cannot be reached by other users of the node, setuid programs least of all', () => {
    const dir = join(rootOf(own.store, ref), '..', '..');
    expect(lstatSync(dir).mode & 0o077).toBe(0);
    expect(existsSync(at('bin/tool'))).toBe(true);
  });

  test("without PATH gets Docker's default, and the root as working directory", async () => {
    await registry.push('plain:1', { layers: [BASE], config: {} });
    const image = await own.store.ensure(`${registry.host}/plain:1`, {});
    expect(image.env['PATH']).toBe('/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin');
    expect(image).toMatchObject({ workdir: '/', user: '' });
  });

  test('with a user whose group is empty has the user, as in Docker', async () => {
    await registry.push('user:1', { layers: [BASE], config: { User: 'app:' } });
    expect((await own.store.ensure(`${registry.host}/user:1`, {})).user).toBe('app');
  });
});
