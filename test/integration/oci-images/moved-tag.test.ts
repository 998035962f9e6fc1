/** An explicit pull of a name that is already on the node: what is requested, what is copied, and what stays. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Door, Registry } from './registry.ts';
import { because, codeOf, lacking, openStore, rootOf, type OwnStore } from './store.ts';
import type { Entry } from './tar.ts';

const layers = (text: string): Entry[][] => [[{ path: 'file', body: text }]];

describe.skipIf(lacking !== '')(`a tag that moves${because}`, () => {
  let registry: Registry;
  let door: Door;
  let own: OwnStore;

  beforeAll(async () => {
    registry = await Registry.start();
    door = await Door.open(registry);
    own = await openStore({ graceMs: -1 });
  });
  afterAll(async () => {
    await own?.dispose();
    await door?.close();
    await registry?.stop();
  });

  const blobsAsked = (): number =>
    door.asked.filter((each) => each.startsWith('GET') && each.includes('/blobs/')).length;
  const textOf = (ref: string): string => readFileSync(join(rootOf(own.store, ref), 'file'), 'utf8');

  for (const format of ['oci', 'v2s2'] as const) {
    test(`until it moves, no layer of an image in ${format} is requested`, async () => {
      const more = { docker_version: '27.0', author: '"a": b && <c>' };
      const pushed = await registry.push(`same/${format}:1`, { layers: layers(format), more }, format);
      const ref = `${door.host}/same/${format}:1`;
      const first = await own.store.refresh(ref, {});
      expect(first.changed).toBe(true);
      // Docker's format is rewritten.
      expect(first.image.id === pushed).toBe(format === 'oci');
      const [manifests, blobs] = [door.manifestsAsked(), blobsAsked()];
      expect(await own.store.refresh(ref, {})).toEqual({ image: first.image, changed: false });
      expect(door.manifestsAsked()).toBeGreaterThan(manifests);
      // The configuration, in one form or in both.
      expect(blobsAsked() - blobs).toBeLessThanOrEqual(2);
    });
  }

  test('when it has moved, concurrent pulls share one; later sandboxes get the new image, earlier ones keep theirs', async () => {
    const before = await registry.push('moves:1', { layers: layers('before') });
    const ref = `${door.host}/moves:1`;
    const old = await own.store.ensure(ref, {});
    own.store.hold(before);
    const after = await registry.push('moves:1', { layers: layers('after') });
    // A create does not ask the registry.
    expect((await own.store.ensure(ref, {})).id).toBe(before);
    const all = await Promise.all([1, 2, 3].map(() => own.store.refresh(ref, {})));
    expect(all.map(({ image, changed }) => [image.id, changed])).toEqual(all.map(() => [after, true]));
    expect(own.store.get(ref)?.id).toBe(after);
    expect(textOf(ref)).toBe('after');
    const [root = ''] = own.store.layersOf(old);
    expect(readFileSync(join(root, 'file'), 'utf8')).toBe('before');
    expect((await own.again()).get(ref)?.id).toBe(after);
    // When its last sandbox has ended, the next eviction removes the old one.
    own.store.release(before);
    await registry.push('another:1', { layers: layers('another') });
    await own.store.ensure(`${door.host}/another:1`, {});
    expect(await codeOf(Promise.resolve().then(() => own.store.layersOf(old)))).toBe('image_not_found');
    expect(readdirSync(join(own.dir, 'images'))).not.toContain(before.slice('sha256:'.length));
    expect(textOf(ref)).toBe('after');
  });

  test('a digest, which cannot move, is not requested again', async () => {
    await registry.push('fixed:1', { layers: layers('fixed') });
    const ref = `${door.host}/fixed@${await registry.digestOf('fixed:1')}`;
    expect((await own.store.refresh(ref, {})).changed).toBe(true);
    const asked = door.asked.length;
    expect((await own.store.refresh(ref, {})).changed).toBe(false);
    expect(door.asked.length).toBe(asked);
  });

  test('a failed pull leaves the existing image', async () => {
    const gone = await Door.open(registry);
    const id = await registry.push('stays:1', { layers: layers('stays') });
    const ref = `${gone.host}/stays:1`;
    await own.store.ensure(ref, {});
    await gone.close();
    expect(await codeOf(own.store.refresh(ref, {}))).toBe('image_unreachable');
    expect(own.store.get(ref)?.id).toBe(id);
    expect(textOf(ref)).toBe('stays');
  });
});
