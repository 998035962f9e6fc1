/** A tag that moves in a registry, and Docker, which asks it. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import Docker from 'dockerode';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DockerImages } from '../../../agent/runtime/docker/docker-images.ts';
import { Registry } from '../oci-images/registry.ts';
import { silent } from '../../../src/lib/logger.ts';
import { because, codeOf, lacking } from '../oci-images/store.ts';

const run = promisify(execFile);

describe.skipIf(lacking !== '')(`a tag that moves, with Docker${because}`, () => {
  let registry: Registry;
  const ids = new Set<string>();

  beforeAll(async () => {
    registry = await Registry.start();
  });
  afterAll(async () => {
    for (const id of ids) await run('docker', ['rmi', '--force', id]);
    await registry?.stop();
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
    await registry.stop();
    expect(await codeOf(images.refresh(ref, {}))).toBe('image_unreachable');
    expect(images.get(ref)?.id).toBe(after.id);
  });
});
