/** Registries that answer unusually: on purpose, by mistake, or because of their age. */
import { execFile } from 'node:child_process';
import { lstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type http from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OCI, OddRegistry, sha256, type Descriptor } from './odd-registry.ts';
import { because, codeOf, lacking, openStore, rootOf, type OwnStore } from './store.ts';
import { tar, type Entry } from './tar.ts';

const run = promisify(execFile);
/** `cap_net_raw` as a file capability. */
const CAPABILITY = `\x01\x00\x00\x02\x00\x20${'\x00'.repeat(14)}`;
const INDEX = `${OCI}index.v1+json`;
const DOCKER = 'application/vnd.docker.';

describe.skipIf(lacking !== '')(`an odd registry${because}`, () => {
  let registry: OddRegistry;
  let own: OwnStore;
  beforeAll(async () => {
    registry = await OddRegistry.start();
    own = await openStore();
  });
  afterAll(async () => {
    await own?.dispose();
    await registry?.[Symbol.asyncDispose]();
  });

  const pull = (name: string): Promise<string> => codeOf(own.store.ensure(`${registry.host}/${name}:1`, {}));
  const at = (name: string, path = ''): string => join(rootOf(own.store, `${registry.host}/${name}:1`), path);
  /** Unique content, which is not on the node already. */
  const files = (name: string): Entry[] => [{ path: 'file', body: `of ${name}` }];
  /** An image with its layer descriptor modified by `change`. */
  const withLayer = (name: string, change: (layer: Descriptor) => Descriptor): Descriptor => {
    const { layer, diffId } = registry.layer(name, files(name));
    registry.image(name, { layers: [change(layer)], diffIds: [diffId] });
    return layer;
  };
  const withConfig = (name: string, config: object): void => {
    const { layer, diffId } = registry.layer(name, files(name));
    registry.image(name, { layers: [layer], diffIds: [diffId], config });
  };
  const answerBlob = (name: string, answer: (response: http.ServerResponse, size: number) => void): void => {
    const { digest, size } = withLayer(name, (layer) => layer);
    registry.answers.set(`/v2/${name}/blobs/${digest}`, (_request, response) => answer(response, size));
  };
  const index = (name: string, manifests: readonly Descriptor[]): unknown =>
    registry.manifest(name, { schemaVersion: 2, mediaType: INDEX, manifests }, INDEX, '1');

  describe('valid images are pulled', () => {
    const had: Record<string, (name: string) => unknown> = {
      'an index with attestations, other systems and other processors first': (name) => {
        const image = registry.imageOf(name, files(name));
        const other = registry.image(name, { layers: [], diffIds: [] }, 'other');
        const platforms = ['unknown/unknown', 'windows/amd64', 'linux/s390x', 'linux/mips64le'].map((text) => {
          const [os, architecture] = text.split('/');
          return { ...other, platform: { os, architecture } };
        });
        const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
        index(name, [...platforms, { ...image, platform: { os: 'linux', architecture } }]);
      },
      'an index of images for the 32-bit counterpart of our processor only': (name) => {
        const counterpart = process.arch === 'x64' ? '386' : 'arm';
        const { layer, diffId } = registry.layer(name, files(name));
        const image = registry.image(name, { layers: [layer], diffIds: [diffId], architecture: counterpart });
        const platforms = ['unknown', counterpart].map((architecture) => ({ os: 'linux', architecture }));
        index(
          name,
          platforms.map((platform) => ({ ...image, platform })),
        );
      },
      "Docker's own types": (name) => {
        const data = tar(files(name));
        const layer = registry.blob(name, gzipSync(data), `${DOCKER}image.rootfs.diff.tar.gzip`);
        const config = { os: 'linux', config: {}, rootfs: { type: 'layers', diff_ids: [sha256(data)] } };
        const described = registry.blob(name, Buffer.from(JSON.stringify(config)), `${DOCKER}container.image.v1+json`);
        const type = `${DOCKER}distribution.manifest.v2+json`;
        registry.manifest(name, { schemaVersion: 2, mediaType: type, config: described, layers: [layer] }, type, '1');
      },
      'a layer compressed by zstd': (name) => {
        const data = tar(files(name));
        const layer = registry.blob(name, zstdCompressSync(data), `${OCI}layer.v1.tar+zstd`);
        registry.image(name, { layers: [layer], diffIds: [sha256(data)] });
      },
      'a layer that is not compressed': (name) => {
        const data = tar(files(name));
        registry.image(name, { layers: [registry.blob(name, data, `${OCI}layer.v1.tar`)], diffIds: [sha256(data)] });
      },
      'blobs that are elsewhere': (name) => {
        const { digest } = withLayer(name, (layer) => layer);
        const path = `/v2/${name}/blobs/${digest}`;
        const answer = registry.answers.get(path);
        if (answer !== undefined) registry.answers.set(`/elsewhere/${name}`, answer);
        registry.answers.set(path, (_request, response) => {
          response.writeHead(307, { location: `/elsewhere/${name}` }).end();
        });
      },
      'one layer twice': (name) => {
        const { layer, diffId } = registry.layer(name, files(name));
        registry.image(name, { layers: [layer, layer], diffIds: [diffId, diffId] });
      },
      'as many layers as Docker allows': (name) => {
        const more = Array.from({ length: 126 }, (_, i): Entry[] => [{ path: `file-${i}`, body: String(i) }]);
        registry.imageOf(name, files(name), ...more);
      },
    };
    for (const [number, [what, make]] of Object.entries(had).entries()) {
      test(what, async () => {
        const name = `had/${number}`;
        make(name);
        expect(await pull(name)).toBe('no error');
        expect(readFileSync(at(name, 'file'), 'utf8')).toBe(`of ${name}`);
        expect((await own.store.refresh(`${registry.host}/${name}:1`, {})).changed).toBe(false);
      });
    }
  });

  describe('invalid images are refused, and leave nothing', () => {
    const refused: Record<string, [code: string, make: (name: string) => unknown]> = {
      'an index without our processor': [
        'image_invalid',
        (name) =>
          index(name, [{ ...registry.imageOf(name, files(name)), platform: { os: 'linux', architecture: 's390x' } }]),
      ],
      'another processor, without an index': [
        'image_invalid',
        (name) => {
          const { layer, diffId } = registry.layer(name, files(name));
          registry.image(name, { layers: [layer], diffIds: [diffId], architecture: 's390x' });
        },
      ],
      'a manifest of the first version with nothing in it': [
        'image_invalid',
        (name) =>
          registry.manifest(name, { schemaVersion: 1, name, tag: '1' }, `${DOCKER}distribution.manifest.v1+json`, '1'),
      ],
      'a manifest that is a page': [
        'image_invalid',
        (name) => registry.answers.set(`/v2/${name}/manifests/1`, (_request, response) => response.end('<html>')),
      ],
      'a manifest without end': [
        'image_invalid',
        (name) =>
          registry.manifest(name, { schemaVersion: 2, fill: 'x'.repeat(8_000_000) }, `${OCI}manifest.v1+json`, '1'),
      ],
      'fewer layers than the image of this id has': [
        'image_invalid',
        (name) => {
          const [first, second] = [
            registry.layer(name, files(name)),
            registry.layer(name, [{ path: 'more', body: name }]),
          ];
          registry.image(name, { layers: [first.layer], diffIds: [first.diffId, second.diffId] });
        },
      ],
      'more layers than the image of this id has': [
        'image_invalid',
        (name) => registry.image(name, { layers: [registry.layer(name, files(name)).layer], diffIds: [] }),
      ],
      'a layer that is missing': [
        'image_invalid',
        (name) => answerBlob(name, (response) => response.writeHead(404).end()),
      ],
      'a layer of another digest': ['image_invalid', (name) => answerBlob(name, (response) => response.end('evil'))],
      'a layer of another size': ['image_invalid', (name) => withLayer(name, (layer) => ({ ...layer, size: 10 }))],
      'a layer that is cut off': [
        'image_unreachable',
        (name) =>
          answerBlob(name, (response, size) => {
            response.writeHead(200, { 'content-length': size });
            response.write('x', () => response.destroy());
          }),
      ],
      'blobs that are always elsewhere': [
        'image_invalid',
        (name) => answerBlob(name, (response) => response.writeHead(307, { location: response.req.url ?? '' }).end()),
      ],
      'no more pulls for now': [
        'image_unreachable',
        (name) =>
          registry.answers.set(`/v2/${name}/manifests/1`, (_request, response) => {
            response
              .writeHead(429, { 'retry-after': '0' })
              .end('{"errors":[{"code":"TOOMANYREQUESTS","message":"the pull rate limit"}]}');
          }),
      ],
      'layers of which nobody knows what they are': [
        'image_invalid',
        (name) => {
          const layer = registry.blob(name, Buffer.from(name), 'application/vnd.in-toto+json');
          registry.image(name, { layers: [layer], diffIds: [layer.digest] });
        },
      ],
      'a configuration of other shapes': ['image_invalid', (name) => withConfig(name, { Env: 'A=1', User: 5 })],
      'a zero in what programs are given': ['image_invalid', (name) => withConfig(name, { Env: ['A=b\0c'] })],
      'a variable that no program can be given': [
        'image_invalid',
        (name) => withConfig(name, { Env: [`A=${'x'.repeat(128 * 1024)}`] }),
      ],
      'an environment without end': [
        'image_invalid',
        (name) => withConfig(name, { Env: Array.from({ length: 100 }, (_, i) => `A${i}=${'x'.repeat(10_000)}`) }),
      ],
      'variables without end': [
        'image_invalid',
        (name) => withConfig(name, { Env: Array.from({ length: 300_000 }, (_, i) => `A${i}=`) }),
      ],
      'a working directory without end': [
        'image_invalid',
        (name) => withConfig(name, { WorkingDir: '/x'.repeat(5_000) }),
      ],
      'a user without end': ['image_invalid', (name) => withConfig(name, { User: 'x'.repeat(1_000_000) })],
    };
    for (const [number, [what, [code, make]]] of Object.entries(refused).entries()) {
      test.concurrent(what, async ({ expect }) => {
        const name = `refused/${number}`;
        make(name);
        expect(await pull(name)).toBe(code);
        expect(own.store.get(`${registry.host}/${name}:1`)).toBeUndefined();
      });
    }

    test('nothing is left of them', () => {
      expect(readdirSync(join(own.dir, 'tmp'))).toEqual([]);
    });
  });

  test('the fault of an image is reported: its processor, or the entry that cannot be unpacked', async () => {
    const other = {
      ...registry.imageOf('said/processor', files('said')),
      platform: { os: 'linux', architecture: 's390x' },
    };
    index('said/processor', [other]);
    const loop = (path: string, target: string): Entry => ({ path, type: 'symlink', target });
    registry.imageOf('said/entry', [loop('a', 'b'), loop('b', 'a'), { path: 'a/\x1b[2Jbelow', body: '' }]);
    const words = (name: string): Promise<string> =>
      own.store.ensure(`${registry.host}/${name}:1`, {}).then(String, (error: Error) => error.message);
    expect(await words('said/processor')).toMatch(/said\/processor:1 is not available for linux on \w+$/);
    expect(await words('said/entry')).toMatch(/^the image could not be unpacked: a\/\?\[2Jbelow: .*symbolic links/);
  });

  test('an image named like an error is not mistaken for one', async () => {
    for (const name of ['not/found', 'denied/timeout', 'eof']) {
      registry.answers.set(`/v2/${name}/manifests/1`, (_request, response) => response.end('<html>'));
      expect([name, await pull(name)]).toEqual([name, 'image_invalid']);
    }
  });

  test('a registry that sends almost nothing keeps its turn for a bounded time', async () => {
    answerBlob('never/comes', () => undefined);
    const store = await own.again({ registry: { mirrors: {}, insecure: [], patienceMs: 500 } });
    expect(await codeOf(store.ensure(`${registry.host}/never/comes:1`, {}))).toBe('image_unreachable');
  });

  test('trickling registries delay nobody: they continue without a turn, and the slowest is aborted', async () => {
    const turns = { atOnce: 2, aside: 2, slowBytesPerSecond: 1024 * 1024, slowMs: 300, longMs: 60_000 };
    const store = await own.again({ turns });
    const left = new AbortController();
    const trickling = Array.from({ length: 5 }, (_, i) => {
      const name = `trickle/${i}`;
      answerBlob(name, (response, size) => void response.writeHead(200, { 'content-length': size }).write('x'));
      return codeOf(store.ensure(`${registry.host}/${name}:1`, { signal: left.signal }));
    });
    registry.imageOf('after/trickles', files('after/trickles'));
    expect((await store.ensure(`${registry.host}/after/trickles:1`, {})).env).toHaveProperty('PATH');
    left.abort();
    // There were five, and room for four besides the one that got its turn.
    const codes = await Promise.all(trickling);
    expect(codes.filter((code) => code === 'image_unreachable').length).toBeGreaterThan(0);
    expect(codes.filter((code) => code.includes('AbortError')).length).toBeGreaterThan(1);
  });

  test('a token that is valid for one request is renewed', async () => {
    const name = 'token/app';
    registry.imageOf(name, files(name), [{ path: 'second', body: name }]);
    const spent = new Set<string>();
    let given = 0;
    registry.guard = (request, response) => {
      const token = request.headers.authorization?.replace('Bearer ', '') ?? '';
      if (request.url?.startsWith('/token') === true) {
        given += 1;
        response.end(JSON.stringify({ token: `token-${given}`, expires_in: 60, issued_at: '2020-01-01T00:00:00Z' }));
        return true;
      }
      if (token !== '' && !spent.has(token)) {
        spent.add(token);
        return false;
      }
      const challenge = `Bearer realm="http://${registry.host}/token",service="test",scope="repository:${name}:pull"`;
      response.writeHead(401, { 'www-authenticate': challenge }).end('{}');
      return true;
    };
    try {
      expect(await pull(name)).toBe('no error');
      expect(given).toBeGreaterThan(1);
    } finally {
      registry.guard = () => false;
    }
  });

  test('whiteouts, duplicate names, and links in place of directories are treated as in Docker', async () => {
    registry.imageOf(
      'layers/odd',
      [
        { path: './', type: 'dir', mode: 0o711, uid: 7 },
        { path: './/twice', body: 'first' },
        { path: 'twice', body: 'second' },
        { path: 'was-directory', type: 'dir' },
        { path: 'was-directory/below', body: 'x' },
        { path: 'was-directory', body: 'a file now' },
        { path: 'real', type: 'dir' },
        { path: 'way', type: 'symlink', target: 'real' },
        { path: 'kept', body: 'kept' },
        { path: 'opaque', type: 'dir' },
        { path: 'opaque/below', body: 'below' },
      ],
      [
        { path: '.wh.never-was' },
        { path: 'no/such/.wh.directory' },
        { path: 'nowhere/.wh..wh..opq' },
        { path: 'way/through', body: 'through' },
        { path: 'same', type: 'hardlink', target: 'kept' },
        // What this layer adds stays, wherever the whiteout is.
        { path: 'opaque/above', body: 'above' },
        { path: 'opaque/.wh..wh..opq' },
        { path: 'pipe', type: 'pipe' },
        { path: 'disk', type: 'block', device: [8, 0] },
      ],
    );
    expect(await pull('layers/odd')).toBe('no error');
    const text = (path: string): string => readFileSync(at('layers/odd', path), 'utf8');
    expect([text('twice'), text('was-directory'), text('real/through')]).toEqual(['second', 'a file now', 'through']);
    expect(lstatSync(at('layers/odd'))).toMatchObject({ uid: 7 });
    expect(lstatSync(at('layers/odd', 'same')).ino).toBe(lstatSync(at('layers/odd', 'kept')).ino);
    expect(readdirSync(at('layers/odd', 'opaque'))).toEqual(['above']);
    expect(readdirSync(at('layers/odd')).toSorted()).toEqual(
      ['disk', 'kept', 'opaque', 'pipe', 'real', 'same', 'twice', 'was-directory', 'way'].toSorted(),
    );
  });

  test('long and odd names, owners and file capabilities are kept', async () => {
    const longPath = `${`${'d'.repeat(200)}/`.repeat(15)}file`;
    registry.imageOf('names/odd', [
      { path: 'x', longPath, body: 'deep' },
      { path: 'x', longPath: 'caf\xe9', body: 'not UTF-8' },
      { path: 'a\nb', body: 'two lines' },
      { path: 'set', body: '', mode: 0o6755, uid: 2_000_000, gid: 70_000 },
      { path: 'ping', body: '', mode: 0o755, xattrs: { 'security.capability': CAPABILITY } },
    ]);
    expect(await pull('names/odd')).toBe('no error');
    expect(readFileSync(at('names/odd', longPath), 'utf8')).toBe('deep');
    expect(readdirSync(at('names/odd'), 'latin1')).toEqual(expect.arrayContaining(['caf\xe9', 'a\nb']));
    const { mode, uid, gid } = lstatSync(at('names/odd', 'set'));
    expect([mode & 0o7777, uid, gid]).toEqual([0o6755, 2_000_000, 70_000]);
    const { stdout } = await run('tar', ['--xattrs', '--xattrs-include=*', '-cf', '-', '-C', at('names/odd'), 'ping']);
    expect(stdout).toContain('SCHILY.xattr.security.capability');
  });

  test('a layer cannot redirect its overlay', async () => {
    const marks = { 'trusted.overlay.redirect': '/etc', 'trusted.overlay.opaque': 'y' };
    registry.imageOf('overlay/marks', [{ path: 'directory', type: 'dir', xattrs: marks }]);
    expect(await pull('overlay/marks')).toBe('no error');
    const { stdout } = await run('tar', ['--xattrs', '--xattrs-include=*', '-cf', '-', '-C', at('overlay/marks'), '.']);
    expect(stdout).not.toContain('trusted.overlay');
  });

  test('a directory that a later layer replaces with a link leads nowhere', async () => {
    const name = 'later/link';
    const victim = join(own.dir, 'victim');
    writeFileSync(victim, 'untouched');
    registry.imageOf(
      name,
      [
        { path: 'way', type: 'dir' },
        { path: 'way/victim', body: 'of the image' },
      ],
      [{ path: 'way', type: 'symlink', target: own.dir }],
      [{ path: 'way/victim', body: name }, { path: 'way/.wh.victim' }, { path: '../../../.wh.victim' }],
      [{ path: 'way/.wh..wh..opq' }],
    );
    expect(await pull(name)).toBe('no error');
    expect(readFileSync(victim, 'utf8')).toBe('untouched');
  });

  test('an oversized attribute is not reported as a full disk', async () => {
    registry.imageOf('large/attribute', [{ path: 'file', body: '', xattrs: { 'user.large': 'x'.repeat(60_000) } }]);
    expect(['no error', 'image_invalid']).toContain(await pull('large/attribute'));
  });

  test('a layer that creates, names or removes something forbidden is refused, and does no harm', async () => {
    const hostile: Entry[][] = [
      [{ path: '.wh...' }],
      [{ path: '.wh..' }],
      [{ path: '.wh.' }],
      [{ path: './', body: 'no directory' }],
      [{ path: '.', type: 'symlink', target: '/etc' }],
      [
        { path: 'file/below', body: '' },
        { path: 'file', type: 'hardlink', target: 'file' },
      ],
      [
        { path: 'loop', type: 'symlink', target: 'loop' },
        { path: 'loop/below', body: '' },
      ],
      [{ path: 'file', type: 'hardlink', target: 'what-is-not-there' }],
      [{ path: 'x', longPath: 'n'.repeat(300), body: '' }],
      [{ path: 'x', longPath: `${`${'d'.repeat(200)}/`.repeat(40)}file`, body: '' }],
    ];
    for (const [number, entries] of hostile.entries()) {
      const name = `hostile/${number}`;
      registry.imageOf(name, files(name), entries);
      expect(await pull(name), name).toBe('image_invalid');
    }
    expect(readdirSync(join(own.dir, 'tmp'))).toEqual([]);
    expect(readFileSync(at('had/0', 'file'), 'utf8')).toBe('of had/0');
  });
});
