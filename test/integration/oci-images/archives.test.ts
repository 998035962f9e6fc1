/** Archives: every supported kind, and hostile ones. */
import { execFile } from 'node:child_process';
import { existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { writeLayout } from './layout.ts';
import { because, codeOf, lacking, openStore, rootOf, type OwnStore } from './store.ts';
import { tar, type Entry } from './tar.ts';

const run = promisify(execFile);
const FILES: Entry[] = [
  { path: 'bin', type: 'dir' },
  { path: 'bin/tool', body: 'tool', mode: 0o4755, uid: 3 },
];

describe.skipIf(lacking !== '')(`archives${because}`, () => {
  let own: OwnStore;
  let home: string;

  beforeEach(async () => {
    home = mkdtempSync(join(tmpdir(), 'mbx-archives-'));
    own = await openStore();
  });
  afterEach(async () => {
    await own.dispose();
    rmSync(home, { recursive: true, force: true });
  });

  const write = (name: string, data: Buffer): string => {
    writeFileSync(join(home, name), data);
    return join(home, name);
  };
  const layoutArchive = async (kind: 'docker-archive' | 'oci-archive'): Promise<{ path: string; id: string }> => {
    const layout = join(home, 'layout');
    const id = writeLayout(layout, { layers: [FILES], config: { Env: ['A=1'], WorkingDir: '/bin' } });
    const path = join(home, 'archive.tar');
    const name = kind === 'docker-archive' ? ':some/name:1' : ':image';
    await run('skopeo', ['copy', '--insecure-policy', `oci:${layout}:image`, `${kind}:${path}${name}`]);
    return { path, id };
  };

  test.each([
    ['plain', (data: Buffer) => data],
    ['compressed', (data: Buffer) => gzipSync(data)],
  ])('a root file system, %s', async (_how, pack) => {
    const image = await own.store.importTar('own:1', write('rootfs', pack(tar(FILES))));
    expect(image).toMatchObject({ ref: 'own:1', workdir: '/', user: '' });
    const tool = lstatSync(join(rootOf(own.store, 'own:1'), 'bin/tool'));
    expect([tool.mode & 0o7777, tool.uid]).toEqual([0o4755, 3]);
  });

  test.each([
    ['files', { body: '{"name":"a web application"}' }, { body: '1.0.0' }],
    ['directories', { type: 'dir' }, { type: 'dir' }],
    ['links', { type: 'symlink', target: 'bin/tool' }, { type: 'hardlink', target: 'bin/tool' }],
  ] as const)('a root file system that has %s named as in other archives', async (_kind, manifest, layout) => {
    const entries: Entry[] = [...FILES, { path: 'manifest.json', ...manifest }, { path: 'oci-layout', ...layout }];
    await own.store.importTar('own:1', write('rootfs', tar(entries)));
    expect(readdirSync(rootOf(own.store, 'own:1')).sort()).toEqual(['bin', 'manifest.json', 'oci-layout']);
  });

  test('a root file system with attributes: file capabilities, and user xattrs', async () => {
    const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex').toString('latin1');
    const xattrs = { 'security.capability': capability, 'user.color': 'blue' };
    await own.store.importTar('own:1', write('rootfs', tar([{ path: 'ping', body: 'ping', xattrs }])));
    const list = 'import os, sys; print(*sorted(os.listxattr(sys.argv[1])))';
    const { stdout } = await run('python3', ['-c', list, join(rootOf(own.store, 'own:1'), 'ping')]);
    expect(stdout).toBe('security.capability user.color\n');
  });

  test.each(['docker-archive', 'oci-archive'] as const)(
    'a %s repacked by tar, with ./ before its names',
    async (kind) => {
      const { path } = await layoutArchive(kind);
      const dir = join(home, 'open');
      await run('sh', ['-c', 'mkdir "$1" && tar xf "$2" -C "$1" && tar cf "$2" -C "$1" .', 'sh', dir, path]);
      const image = await own.store.importTar('own:3', path);
      expect(image).toMatchObject({ env: { A: '1' }, workdir: '/bin' });
      expect(readFileSync(join(rootOf(own.store, 'own:3'), 'bin/tool'), 'utf8')).toBe('tool');
    },
  );

  test.each(['docker-archive', 'oci-archive'] as const)('a %s', async (kind) => {
    const { path } = await layoutArchive(kind);
    const image = await own.store.importTar('own:2', path);
    expect(image).toMatchObject({ env: { A: '1' }, workdir: '/bin' });
    expect(readFileSync(join(rootOf(own.store, 'own:2'), 'bin/tool'), 'utf8')).toBe('tool');
  });

  test.each([
    ['docker-archive', 'gzip'],
    ['docker-archive', 'xz'],
    ['docker-archive', 'zstd'],
    ['oci-archive', 'gzip'],
    ['oci-archive', 'xz'],
    ['oci-archive', 'zstd'],
  ] as const)('a %s, compressed by %s', async (kind, program) => {
    const { path } = await layoutArchive(kind);
    await run('sh', ['-c', '"$1" -c "$2" >"$2.packed"', 'sh', program, path]);
    const image = await own.store.importTar('own:2', `${path}.packed`);
    expect(image).toMatchObject({ env: { A: '1' }, workdir: '/bin' });
    expect(readFileSync(join(rootOf(own.store, 'own:2'), 'bin/tool'), 'utf8')).toBe('tool');
    expect(readdirSync(join(own.dir, 'tmp'))).toEqual([]);
  });

  test('an OCI archive that lists its image under several names, as BuildKit does for each tag', async () => {
    const layout = join(home, 'layout');
    const id = writeLayout(layout, { layers: [FILES] });
    const { manifests } = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as { manifests: object[] };
    const named = ['1', 'latest'].map((name) => ({
      ...manifests[0],
      annotations: { 'org.opencontainers.image.ref.name': name },
    }));
    writeFileSync(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: named }));
    const path = join(home, 'two-names.tar');
    for (const names of [['index.json', 'oci-layout', 'blobs'], ['.']]) {
      await run('tar', ['-C', layout, '-cf', path, ...names]);
      expect((await own.store.importTar('own:3', path)).id).toBe(id);
      await own.store.remove('own:3');
    }
  });

  test.each(['docker-archive', 'oci-archive'] as const)('a %s of several images is refused as that', async (kind) => {
    const path = join(home, 'several.tar');
    const images = ['first', 'second'].map((body) => [[{ path: 'file', body }]]);
    if (kind === 'oci-archive') {
      const layout = join(home, 'layout');
      const all = images.flatMap((layers) => {
        writeLayout(layout, { layers });
        return (JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as { manifests: object[] }).manifests;
      });
      writeFileSync(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: all }));
      await run('tar', ['-C', layout, '-cf', path, '.']);
    } else {
      const saved = images.map((_layers, at) => ({ Config: `${at}.json`, RepoTags: [`app:${at}`], Layers: [] }));
      writeFileSync(path, tar([{ path: 'manifest.json', body: JSON.stringify(saved) }]));
    }
    await expect(own.store.importTar('own:3', path)).rejects.toThrow(/^the archive contains several images/);
  });

  test('an OCI archive has the same id as the image in a registry', async () => {
    const { path, id } = await layoutArchive('oci-archive');
    expect((await own.store.importTar('own:3', path)).id).toBe(id);
  });

  test('a name with a colon in the path', async () => {
    const { path } = await layoutArchive('oci-archive');
    const odd = write('a:b c.tar', readFileSync(path));
    expect((await own.store.importTar('own:4', odd)).env['A']).toBe('1');
  });

  test.each([
    ['not a tar', Buffer.from('no tar at all'.repeat(100))],
    ['empty', Buffer.alloc(0)],
    ['no files', tar([])],
    ['half of one', tar([{ path: 'file', body: 'x'.repeat(10_000) }]).subarray(0, 5_000)],
  ])('what is broken is refused, and nothing is left: %s', async (_how, data) => {
    expect(await codeOf(own.store.importTar('own:5', write('broken', data)))).toBe('image_invalid');
    expect(own.store.get('own:5')).toBeUndefined();
    expect(readdirSync(join(own.dir, 'tmp'))).toEqual([]);
    expect(readdirSync(join(own.dir, 'images'))).toEqual([]);
  });

  test('a file that is not an archive is reported as such', async () => {
    const told = own.store.importTar('own:7', write('text', Buffer.alloc(2_000, 'x')));
    await expect(told).rejects.toThrow(/does not look like a tar archive/);
  });

  test("a digest names a registry's image: no archive is imported under one", async () => {
    const ref = `own@sha256:${'0'.repeat(64)}`;
    expect(await codeOf(own.store.importTar(ref, write('rootfs', tar(FILES))))).toBe('image_invalid');
    expect(own.store.get(ref)).toBeUndefined();
  });

  test('a missing file', async () => {
    expect(await codeOf(own.store.importTar('own:6', join(home, 'nothing')))).toBe('image_invalid');
  });

  describe('nothing escapes its own tree', () => {
    const hostile = (victim: string): Record<string, Entry[]> => {
      const up = '../'.repeat(20);
      return {
        'a path that climbs': [{ path: `${up}${victim.slice(1)}`, body: 'out' }],
        'an absolute path': [{ path: victim, body: 'out' }],
        'a file through an absolute link': [
          { path: 'way', type: 'symlink', target: join(victim, '..') },
          { path: 'way/victim', body: 'out' },
        ],
        'a file through a link that climbs': [
          { path: 'way', type: 'symlink', target: `${up}${join(victim, '..').slice(1)}` },
          { path: 'way/victim', body: 'out' },
        ],
        'the removal of what is behind a link': [
          { path: 'way', type: 'symlink', target: join(victim, '..') },
          { path: 'way/.wh.victim' },
          { path: 'way/.wh..wh..opq' },
        ],
        'a hard link through a link': [
          { path: 'way', type: 'symlink', target: join(victim, '..') },
          { path: 'file', type: 'hardlink', target: 'way/victim' },
          { path: 'file', body: 'out' },
        ],
        'a hard link to what is outside': [
          { path: 'file', type: 'hardlink', target: victim },
          { path: 'file', body: 'out' },
        ],
        'a link as the description of the image': [
          { path: 'way', type: 'symlink', target: '..' },
          { path: 'way/image.json', type: 'symlink', target: victim },
        ],
      };
    };

    for (const how of Object.keys(hostile('/v'))) {
      test.each(['as a root file system', 'as a layer'])(`${how}, %s`, async (form) => {
        const victim = write('victim', Buffer.from('untouched'));
        const entries = [...FILES, ...(hostile(victim)[how] ?? [])];
        let path: string;
        if (form === 'as a layer') {
          writeLayout(join(home, 'layout'), { layers: [FILES, entries] });
          path = join(home, 'hostile.tar');
          await run('tar', ['-C', join(home, 'layout'), '-cf', path, 'oci-layout', 'index.json', 'blobs']);
        } else {
          path = write('hostile.tar', tar(entries));
        }
        // It may be refused, or end up inside: both are fine.
        const code = await codeOf(own.store.importTar('hostile:1', path));
        expect(['no error', 'image_invalid']).toContain(code);
        expect(readFileSync(victim, 'utf8')).toBe('untouched');
        expect(lstatSync(victim).nlink).toBe(1);
        if (code === 'no error') {
          expect(lstatSync(join(rootOf(own.store, 'hostile:1'), '..', 'image.json')).isFile()).toBe(true);
        }
        // The store still works.
        await own.store.importTar('good:1', write('good.tar', tar(FILES)));
        expect(existsSync(join(rootOf(own.store, 'good:1'), 'bin/tool'))).toBe(true);
      });
    }
  });

  test('an image whose layers do not match its configuration is refused: it would pass for another one', async () => {
    const layout = join(home, 'layout');
    writeLayout(layout, { layers: [[{ path: 'evil', body: 'x' }]], claimedLayers: [FILES] });
    const path = join(home, 'liar.tar');
    await run('tar', ['-C', layout, '-cf', path, 'oci-layout', 'index.json', 'blobs']);
    expect(await codeOf(own.store.importTar('liar:1', path))).toBe('image_invalid');
  });

  test('an image whose name moved to another is removed once nobody uses it', async () => {
    const store = await own.again({ graceMs: -1 });
    const versions = [1, 2, 3].map((i) => write(`${i}.tar`, tar([...FILES, { path: 'version', body: String(i) }])));
    const ids: string[] = [];
    for (const path of versions) {
      const { id } = await store.importTar('own:1', path);
      // Like a sandbox of the first one.
      if (ids.push(id) === 1) store.hold(id);
    }
    const [first = '', , last = ''] = ids.map((id) => id.slice('sha256:'.length));
    const kept = (): string[] => readdirSync(join(own.dir, 'images'));
    expect(kept().toSorted()).toEqual([first, last].toSorted());
    store.release(ids[0] ?? '');
    await store.importTar('own:1', versions[2] ?? '');
    expect(kept()).toEqual([last]);
  });

  test('an image with a configured archive comes from there', async () => {
    const path = write('base.tar', tar(FILES));
    const store = await own.again({ archives: { 'registry.invalid/base:1': path } });
    expect((await store.ensure('registry.invalid/base:1', {})).ref).toBe('registry.invalid/base:1');
  });
});
