/** Images of a registry, and Docker, which asks it: a tag that moves, and a digest. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import Docker from 'dockerode';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DockerImages } from '../../../agent/runtime/docker/docker-images.ts';
import { Registry } from '../oci-images/registry.ts';
import { silent } from '../../../src/lib/logger.ts';
import { because, codeOf, lacking } from '../oci-images/store.ts';

const run = promisify(execFile);

describe.skipIf(lacking !== '')(`images of a registry, with Docker${because}`, () => {
  let registry: Registry;
  const ids = new Set<string>();

  beforeEach(async () => {
    registry = await Registry.start();
  });
  afterEach(async () => {
    const docker = new Docker();
    for (const id of ids)
      await docker
        .getImage(id)
        .remove({ force: true })
        .catch(() => undefined);
    ids.clear();
    await registry.stop();
  });

  test('a refresh brings the new image beside the old one; without the registry it fails, and both stay', async () => {
    const images = new DockerImages(new Docker(), { inUse: () => new Set(), log: silent });
    const ref = `${registry.host}/moves:1`;
    const refresh = async (): Promise<{ id: string; changed: boolean }> => {
      const { image, changed } = await images.refresh(ref, {});
      ids.add(image.id);
      return { id: image.id, changed };
    };
    await registry.push('moves:1', { layers: [[{ path: 'file', body: 'before' }]] });
    const before = await refresh();
    expect(before.changed).toBe(true);
    expect(await refresh()).toEqual({ id: before.id, changed: false });
    await registry.push('moves:1', { layers: [[{ path: 'file', body: 'after' }]] });
    expect((await images.ensure(ref, {})).id).toBe(before.id);
    const after = await refresh();
    expect(after).toMatchObject({ changed: true });
    expect(after.id).not.toBe(before.id);
    expect(images.get(ref)?.id).toBe(after.id);
    await run('docker', ['image', 'inspect', before.id]);
    const old = (await images.list()).find(({ id }) => id === before.id);
    expect(old?.ref).toMatch(/\/moves@sha256:/);
    await registry.stop();
    expect(await codeOf(images.refresh(ref, {}))).toBe('image_unreachable');
    expect(images.get(ref)?.id).toBe(after.id);
    await images.remove(old?.ref ?? '');
    await expect(run('docker', ['image', 'inspect', before.id])).rejects.toThrow();
  });

  test('an image that is pulled by its digest is listed by that, and removed', async () => {
    const images = new DockerImages(new Docker(), { inUse: () => new Set(), log: silent });
    await registry.push('pinned:1', { layers: [[{ path: 'file', body: 'pinned' }]] });
    const digest = await registry.digestOf('pinned:1');
    const { id } = await images.ensure(`${registry.host}/pinned:ignored@${digest}`, {});
    ids.add(id);
    const listed = (await images.list()).filter((each) => each.id === id);
    expect(listed).toMatchObject([{ ref: `${registry.host}/pinned@${digest}` }]);
    await images.remove(listed[0]?.ref ?? '');
    expect((await images.list()).filter((each) => each.id === id)).toEqual([]);
  });
});
