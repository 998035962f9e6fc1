import { PassThrough } from 'node:stream';
import type Docker from 'dockerode';
import { expect, test } from 'vitest';
import { silent } from '../../../src/lib/logger.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { DockerImages } from './docker-images.ts';

/** An engine that has no image until a pull of it has ended. */
class FakeEngine {
  readonly pulls: PassThrough[] = [];
  readonly used = new Set<string>();
  id = 'sha256:1';
  #here = false;

  images(): DockerImages {
    return new DockerImages(this as unknown as Docker, { inUse: () => this.used, log: silent });
  }

  /** `image:1` has been pulled. */
  async withImage(): Promise<DockerImages> {
    const images = this.images();
    const pulled = images.ensure('image:1', {});
    await this.pulling(1);
    this.finish(this.pulls[0]!);
    await pulled;
    return images;
  }

  finish(pull: PassThrough): void {
    this.#here = true;
    pull.end('{"status":"Downloaded"}\n');
  }

  getImage(): { inspect(): Promise<unknown>; remove(): Promise<void> } {
    const gone = Object.assign(new Error('no such image'), { statusCode: 404 });
    const info = { Id: this.id, Config: { Env: ['A=b'], WorkingDir: '/app' } };
    return {
      inspect: () => (this.#here ? Promise.resolve(info) : Promise.reject(gone)),
      remove: () => {
        this.#here = false;
        return Promise.resolve();
      },
    };
  }

  pull(): Promise<PassThrough> {
    const pull = new PassThrough();
    this.pulls.push(pull);
    return Promise.resolve(pull);
  }

  async pulling(count: number): Promise<void> {
    while (this.pulls.length < count) await new Promise((resolve) => setImmediate(resolve));
  }
}

test('a caller that needs an image whose pull was just given up gets a pull of its own', async () => {
  const engine = new FakeEngine();
  const images = engine.images();
  const impatient = new AbortController();
  const first = images.ensure('image:1', { signal: impatient.signal });
  const caught = expect(first).rejects.toMatchObject({ code: 'cancelled' });
  await engine.pulling(1);
  impatient.abort(new ServiceError('cancelled'));
  const second = images.ensure('image:1', {});
  await caught;
  await engine.pulling(2);
  engine.finish(engine.pulls[1]!);
  expect(await second).toMatchObject({ id: 'sha256:1', env: { A: 'b' }, workdir: '/app' });
  expect(engine.pulls[0]!.destroyed).toBe(true);
});

test('an image that is removed the moment its pull ends is pulled again, once', async () => {
  const engine = new FakeEngine();
  const images = engine.images();
  const removed = images.ensure('image:1', {});
  await engine.pulling(1);
  engine.pulls[0]!.end('{"status":"Downloaded"}\n');
  await engine.pulling(2);
  engine.finish(engine.pulls[1]!);
  expect(await removed).toMatchObject({ id: 'sha256:1' });
  await images.remove('image:1');
  const again = expect(images.ensure('image:1', {})).rejects.toMatchObject({ code: 'image_not_found' });
  for (const count of [3, 4]) {
    await engine.pulling(count);
    engine.pulls[count - 1]!.end('{"status":"Downloaded"}\n');
  }
  await again;
  expect(engine.pulls).toHaveLength(4);
});

test('many callers of one image share a pull, and one that leaves takes it from no other', async () => {
  const engine = new FakeEngine();
  const images = engine.images();
  const impatient = new AbortController();
  const leaves = images.ensure('image:1', { signal: impatient.signal });
  const caught = expect(leaves).rejects.toMatchObject({ code: 'cancelled' });
  const stays = [images.ensure('image:1', {}), images.ensure('image:1', {})];
  await engine.pulling(1);
  impatient.abort(new ServiceError('cancelled'));
  await caught;
  engine.finish(engine.pulls[0]!);
  expect((await Promise.all(stays)).map(({ id }) => id)).toEqual(['sha256:1', 'sha256:1']);
  expect(engine.pulls).toHaveLength(1);
});

test('a refresh lets the engine ask the registry; every spelling of a name that has moved means the new image', async () => {
  const engine = new FakeEngine();
  const images = engine.images();
  const first = images.refresh('image:1', {});
  await engine.pulling(1);
  engine.finish(engine.pulls[0]!);
  expect(await first).toMatchObject({ image: { id: 'sha256:1' }, changed: true });
  await images.ensure('docker.io/library/image:1', {});
  const same = images.refresh('image:1', {});
  await engine.pulling(2);
  engine.finish(engine.pulls[1]!);
  expect((await same).changed).toBe(false);
  const moved = images.refresh('image:1', {});
  await engine.pulling(3);
  engine.id = 'sha256:2';
  engine.finish(engine.pulls[2]!);
  expect(await moved).toMatchObject({ image: { id: 'sha256:2' }, changed: true });
  expect(images.get('image:1')?.id).toBe('sha256:2');
  expect((await images.ensure('docker.io/library/image:1', {})).id).toBe('sha256:2');
});

test('a refresh that fails leaves the image; a digest is not asked for again', async () => {
  const engine = new FakeEngine();
  const images = await engine.withImage();
  const fails = images.refresh('image:1', {});
  await engine.pulling(2);
  engine.pulls[1]!.end('{"error":"dial tcp: connection refused"}\n');
  await expect(fails).rejects.toMatchObject({ code: 'image_unreachable' });
  expect(images.get('image:1')?.id).toBe('sha256:1');
  expect((await images.refresh(`image@sha256:${'0'.repeat(64)}`, {})).changed).toBe(false);
  expect(engine.pulls).toHaveLength(2);
});

test('an image that was removed is known by no spelling of its name any more', async () => {
  const engine = new FakeEngine();
  const images = await engine.withImage();
  await images.ensure('docker.io/library/image:1', {});
  await images.remove('image:1');
  expect(images.get('image:1')).toBeUndefined();
  expect(images.get('docker.io/library/image:1')).toBeUndefined();
  await expect(images.remove('image:1')).rejects.toMatchObject({ code: 'image_not_found' });
});

test('an image that a container uses is not removed, and stays known', async () => {
  const engine = new FakeEngine();
  engine.used.add('sha256:1');
  const images = await engine.withImage();
  await expect(images.remove('image:1')).rejects.toMatchObject({ code: 'invalid_request' });
  expect(images.get('image:1')?.id).toBe('sha256:1');
});

test('the refusal to remove an image speaks of warm containers too, which no sandbox uses', async () => {
  const engine = new FakeEngine();
  engine.used.add('sha256:1');
  const images = await engine.withImage();
  await expect(images.remove('image:1')).rejects.toThrow(/warm container of the pool/);
});

test.for([
  { config: {}, workdir: '/', user: '' },
  { config: { WorkingDir: 'app', User: 'app:' }, workdir: '/app', user: 'app' },
  { config: { WorkingDir: '/a/../b/', User: 'app:web' }, workdir: '/b', user: 'app:web' },
  { config: undefined, workdir: '/', user: '' },
])('where programs start, and as whom, is read as in Docker: $workdir $user', async ({ config, workdir, user }) => {
  const engine = { getImage: () => ({ inspect: () => Promise.resolve({ Id: 'sha256:1', Config: config }) }) };
  const images = new DockerImages(engine as unknown as Docker, { inUse: () => new Set(), log: silent });
  expect(await images.ensure('image:1', {})).toMatchObject({ workdir, user });
});

test('an image is listed by its tags, or else by its digests; `<none>` is neither', async () => {
  const names = [
    { RepoTags: ['image:1'], RepoDigests: ['image@sha256:d'] },
    { RepoTags: null, RepoDigests: ['pinned@sha256:d', 'mirror/pinned@sha256:d'] },
    { RepoTags: ['<none>:<none>'], RepoDigests: ['moved@sha256:d'] },
    { RepoTags: ['<none>:<none>'], RepoDigests: ['<none>@<none>'] },
    { RepoTags: null, RepoDigests: null },
  ];
  const listed = names.map((each, at) => ({ ...each, Id: `sha256:${at}`, Size: 1 }));
  const engine = { listImages: () => Promise.resolve(listed) };
  const images = new DockerImages(engine as unknown as Docker, { inUse: () => new Set(['sha256:0']), log: silent });
  expect((await images.list()).map(({ ref, id, inUse }) => `${ref} ${id} ${inUse}`)).toEqual([
    'image:1 sha256:0 true',
    'pinned@sha256:d sha256:1 false',
    'mirror/pinned@sha256:d sha256:1 false',
    'moved@sha256:d sha256:2 false',
  ]);
});
