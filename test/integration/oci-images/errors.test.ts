/** Each reason for which there is no image has its own code. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePort, Registry } from './registry.ts';
import { because, codeOf, lacking, openStore, type OwnStore } from './store.ts';

const LAYERS = [[{ path: 'file', body: 'x' }]];

describe.skipIf(lacking !== '')(`a pull that fails${because}`, () => {
  let open: Registry;
  let closed: Registry;
  let own: OwnStore;

  beforeAll(async () => {
    open = await Registry.start();
    closed = await Registry.start({ withPassword: true });
    own = await openStore();
    await open.push('there:1', { layers: LAYERS });
    await closed.push('private:1', { layers: LAYERS });
  });
  afterAll(async () => {
    await own?.dispose();
    await open?.stop();
    await closed?.stop();
  });

  test('no such tag, no such name', async () => {
    for (const name of ['there:2', 'nowhere:1', `there@sha256:${'0'.repeat(64)}`]) {
      expect(await codeOf(own.store.ensure(`${open.host}/${name}`, {})), name).toBe('image_not_found');
    }
  });

  test('no credentials, or wrong ones', async () => {
    const ref = `${closed.host}/private:1`;
    expect(await codeOf(own.store.ensure(ref, {}))).toBe('image_unauthorized');
    const registry = { mirrors: {}, insecure: [], authFile: closed.authFile('wrong') };
    expect(await codeOf((await own.again({ registry })).ensure(ref, {}))).toBe('image_unauthorized');
  });

  test('the right credentials get it', async () => {
    const registry = { mirrors: {}, insecure: [], authFile: closed.authFile() };
    const other = await openStore({ registry });
    try {
      expect(await codeOf(other.store.ensure(`${closed.host}/private:1`, {}))).toBe('no error');
    } finally {
      await other.dispose();
    }
  });

  test('nobody answers', async () => {
    const ref = `127.0.0.1:${await freePort()}/there:1`;
    expect(await codeOf(own.store.ensure(ref, {}))).toBe('image_unreachable');
  });

  test('not a reference at all: nobody is asked', async () => {
    for (const ref of ['', 'UPPER', '-x', '../../etc', 'a b', 'a@sha256:12', 'docker://x', '--help']) {
      expect(await codeOf(own.store.ensure(ref, {})), ref).toBe('image_invalid');
      expect(own.store.get(ref)).toBeUndefined();
    }
  });

  test('nothing of it is left', async () => {
    await codeOf(own.store.ensure(`${open.host}/there:3`, {}));
    expect(readdirSync(join(own.dir, 'tmp'))).toEqual([]);
    expect(readdirSync(join(own.dir, 'images'))).toEqual([]);
  });
});
