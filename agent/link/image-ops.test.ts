import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import type { Json, MuxStream } from '../../src/mux/index.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { Channel } from '../../src/protocol/frames.ts';
import { codeOf } from '../testing/code-of.ts';
import { Harness, newSpec, until } from '../testing/harness.ts';
import type { FakeRuntime } from '../runtime/fake/fake-runtime.ts';

type H = Harness<FakeRuntime>;

/** Opens a pull; resolves with the last event, or rejects when the stream ends. */
function pull(h: H, image: string, more: Json = {}): Promise<Json | undefined> {
  const done = Promise.withResolvers<Json | undefined>();
  let last: Json | undefined;
  const stream = h.client.mux.open(
    { op: 'image-pull', image, ...more },
    {
      event: (message) => (last = message),
      fin: () => stream.end(),
      closed: (error) => (error === null ? done.resolve(last) : done.reject(error)),
    },
  );
  return done.promise;
}

/** Opens an import; `done` resolves with the last event, or rejects when the stream ends. */
function startImport(h: H, image: string): { stream: MuxStream; done: Promise<Json | undefined> } {
  const done = Promise.withResolvers<Json | undefined>();
  done.promise.catch(() => undefined);
  let last: Json | undefined;
  const stream = h.client.mux.open(
    { op: 'image-import', image },
    {
      event: (message) => (last = message),
      fin: () => stream.end(),
      closed: (error) => (error === null ? done.resolve(last) : done.reject(error)),
    },
  );
  return { stream, done: done.promise };
}

const incoming = (h: H): string[] => {
  const dir = path.join(h.dataDir, 'incoming');
  return existsSync(dir) ? readdirSync(dir) : [];
};

test('an archive larger than the window arrives intact, becomes an image, and is removed', async () => {
  await using h = await Harness.fake();
  const { stream, done } = startImport(h, 'own:1');
  const bytes = Buffer.alloc(3_000_000, 'archive');
  for (let at = 0; at < bytes.length; at += 100_000) {
    await stream.write(Channel.BYTES, bytes.subarray(at, at + 100_000));
  }
  stream.fin(Channel.BYTES);
  const id = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  expect(await done).toEqual({ type: 'done', id });
  expect(h.runtime.images.get('own:1')?.id).toBe(id);
  expect(incoming(h)).toEqual([]);
});

test('a refused archive gets an error, and is removed', async () => {
  await using h = await Harness.fake();
  const { stream, done } = startImport(h, 'own:2');
  stream.fin(Channel.BYTES);
  expect(await codeOf(done)).toBe('image_invalid');
  await until('the archive is gone', () => incoming(h).length === 0);
});

test('an import whose sender disconnects midway leaves nothing behind', async () => {
  await using h = await Harness.fake();
  const { stream, done } = startImport(h, 'own:3');
  await stream.write(Channel.BYTES, Buffer.alloc(100_000));
  await until('it is under way', () => incoming(h).length === 1);
  stream.reset(new ServiceError('cancelled'));
  await codeOf(done);
  await until('the archive is gone', () => incoming(h).length === 0);
  expect(h.runtime.images.get('own:3')).toBeUndefined();
});

test('an image can be removed once, and its name must be valid', async () => {
  await using h = await Harness.fake();
  const spec = newSpec({ image: 'to-remove' });
  await h.client.create(spec);
  await h.reaches(spec.id, 'RUNNING');
  await h.client.delete(spec.id);
  const remove = (image: string): Promise<string> => codeOf(h.client.call({ op: 'image-remove', image }));
  expect(await remove('to-remove')).toBe('no error');
  expect(await remove('to-remove')).toBe('image_not_found');
  expect(await remove('--all')).toBe('invalid_request');
});

test('a pull checks for a newer image only with `refresh`, and reports whether the name has moved', async () => {
  await using h = await Harness.fake();
  const { images } = h.runtime;
  expect(await pull(h, 'moves:1', { refresh: true })).toEqual({ type: 'done', changed: true });
  const pulls = images.pulls;
  images.moved.set('moves:1', 'sha256:new');
  expect(await pull(h, 'moves:1')).toEqual({ type: 'done', changed: false });
  expect(images.pulls).toBe(pulls);
  expect(await pull(h, 'moves:1', { refresh: true })).toEqual({ type: 'done', changed: true });
  expect(await pull(h, 'moves:1', { refresh: true })).toEqual({ type: 'done', changed: false });
  expect(images.get('moves:1')?.id).toBe('sha256:new');
  expect(await codeOf(pull(h, 'unreachable/moves:1', { refresh: true }))).toBe('image_unreachable');
});

test("an image that was pulled, imported or removed is in the node's report, or no longer, when that is answered", async () => {
  await using h = await Harness.fake();
  const list = h.runtime.images.list.bind(h.runtime.images);
  vi.spyOn(h.runtime.images, 'list').mockImplementation(async () => {
    await sleep(50);
    return await list();
  });
  const reported = async (): Promise<string[]> => {
    const events = h.client.watch();
    await until('the snapshot', () => events.length > 0);
    return events.flatMap((event) => (event.type === 'snapshot' ? event.node.images : []));
  };
  await pull(h, 'pulled:1');
  expect(await reported()).toContain('pulled:1');
  const { stream, done } = startImport(h, 'imported:1');
  await stream.write(Channel.BYTES, Buffer.from('archive'));
  stream.fin(Channel.BYTES);
  await done;
  expect(await reported()).toContain('imported:1');
  await h.client.call({ op: 'image-remove', image: 'imported:1' });
  expect(await reported()).not.toContain('imported:1');
});
