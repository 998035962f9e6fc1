/** Pulls: shared, abandoned, interrupted; and what is kept between them. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sleep } from '../../../src/lib/deadline.ts';
import { until } from '../../helpers/until.ts';
import { Door, Registry } from './registry.ts';
import { because, codeOf, lacking, openStore, rootOf, type OwnStore } from './store.ts';
import type { Entry } from './tar.ts';

const WAIT_MS = 60_000;
const layer = (text: string): Entry[] => [{ path: 'file', body: text }];

describe.skipIf(lacking !== '')(`pulls${because}`, () => {
  let registry: Registry;
  const disposables: (() => Promise<void>)[] = [];

  beforeAll(async () => {
    registry = await Registry.start();
  });
  afterAll(async () => {
    for (const dispose of disposables.reverse()) await dispose();
    await registry?.stop();
  });

  const own = async (...args: Parameters<typeof openStore>): Promise<OwnStore> => {
    const made = await openStore(...args);
    disposables.push(() => made.dispose());
    return made;
  };
  const openDoor = async (): Promise<Door> => {
    const door = await Door.open(registry);
    disposables.push(() => door.close());
    return door;
  };

  test('concurrent callers of one image share one pull, and get its progress', async () => {
    await registry.push('shared:1', { layers: [layer('shared')] });
    const { store } = await own();
    const door = await openDoor();
    const release = door.hold();
    const ref = `${door.host}/shared:1`;
    const told: string[] = [];
    const all = Array.from({ length: 8 }, () => store.ensure(ref, { onProgress: ({ image }) => told.push(image) }));
    await until(() => told.length > 0, WAIT_MS, 'progress');
    release();
    const ids = new Set((await Promise.all(all)).map(({ id }) => id));
    expect(ids.size).toBe(1);
    expect(door.manifestsAsked()).toBe(1);
    expect(new Set(told)).toEqual(new Set([ref]));
    // It is here: no registry is contacted again.
    await store.ensure(ref, {});
    expect(door.manifestsAsked()).toBe(1);
  });

  test("one caller that leaves does not end the others' pull; the last one does", async () => {
    await registry.push('left:1', { layers: [layer('left')] });
    const { store, dir } = await own();
    const door = await openDoor();
    const release = door.hold();
    const ref = `${door.host}/left:1`;
    const [first, second] = [new AbortController(), new AbortController()];
    const one = codeOf(store.ensure(ref, { signal: first.signal }));
    const two = codeOf(store.ensure(ref, { signal: second.signal }));
    await until(() => door.asked.some((each) => each.includes('/blobs/')), WAIT_MS, 'the pull');
    first.abort();
    expect(await one).toContain('AbortError');
    expect(readdirSync(join(dir, 'tmp'))).toHaveLength(1);
    second.abort();
    expect(await two).toContain('AbortError');
    await until(() => readdirSync(join(dir, 'tmp')).length === 0, WAIT_MS, 'the end of the pull');
    release();
    // A later caller starts over, and does not inherit the earlier abort.
    expect((await store.ensure(ref, {})).ref).toBe(ref);
  });

  test('a caller right after an aborted pull gets the image', async () => {
    await registry.push('again:1', { layers: [layer('again')] });
    const { store } = await own();
    const door = await openDoor();
    const release = door.hold();
    const ref = `${door.host}/again:1`;
    const leaving = new AbortController();
    const left = codeOf(store.ensure(ref, { signal: leaving.signal }));
    leaving.abort();
    await left;
    const stays = store.ensure(ref, {});
    release();
    expect((await stays).ref).toBe(ref);
  });

  test('names of one content share one tree', async () => {
    const layers = [layer('twice')];
    const id = await registry.push('twice:1', { layers });
    await registry.push('other/name:2', { layers });
    const { store, dir } = await own();
    const digest = await registry.digestOf('twice:1');
    expect(digest).toMatch(/^sha256:/);
    const refs = ['twice:1', 'other/name:2', `twice@${digest}`].map((name) => `${registry.host}/${name}`);
    for (const ref of refs) expect((await store.ensure(ref, {})).id).toBe(id);
    expect(new Set(refs.map((ref) => rootOf(store, ref))).size).toBe(1);
    expect(readdirSync(join(dir, 'images'))).toHaveLength(1);
    // It is removed with its last name.
    await store.remove(refs[0] ?? '');
    await store.remove(refs[1] ?? '');
    expect(readdirSync(join(dir, 'images'))).toHaveLength(1);
    await store.remove(refs[2] ?? '');
    expect(readdirSync(join(dir, 'images'))).toEqual([]);
  });

  test('an image in use is not removed; an unused one is, and can be pulled again', async () => {
    const id = await registry.push('used:1', { layers: [layer('used')] });
    const ref = `${registry.host}/used:1`;
    const { store } = await own();
    await store.ensure(ref, {});
    store.hold(id);
    expect(await codeOf(store.remove(ref))).toBe('invalid_request');
    expect(await store.list()).toMatchObject([{ ref, id, inUse: true }]);
    store.release(id);
    await store.remove(ref);
    expect(store.get(ref)).toBeUndefined();
    expect(await codeOf(store.remove(ref))).toBe('image_not_found');
    expect((await store.ensure(ref, {})).id).toBe(id);
    expect(existsSync(join(rootOf(store, ref), 'file'))).toBe(true);
  });

  test('images survive a restart; incomplete ones do not', async () => {
    await registry.push('kept:1', { layers: [layer('kept')] });
    const ref = `${registry.host}/kept:1`;
    const { store, dir, again } = await own();
    const image = await store.ensure(ref, {});
    // As left by a kill: a pull in progress, an image without its description, a note half-written.
    mkdirSync(join(dir, 'tmp', 'pull', 'layout'), { recursive: true });
    mkdirSync(join(dir, 'images', 'f'.repeat(64), 'fs'), { recursive: true });
    writeFileSync(join(dir, 'references.json.new'), '{"half');
    const next = await again();
    expect(next.get(ref)).toEqual(image);
    expect(readdirSync(join(dir, 'tmp'))).toEqual([]);
    expect(readdirSync(join(dir, 'images'))).toEqual([image.id.slice('sha256:'.length)]);
  });

  test('a store killed in the middle of a pull is followed by one that works', async () => {
    await registry.push('killed:1', { layers: [layer('killed')] });
    const { dir, again } = await own();
    const door = await openDoor();
    const release = door.hold();
    const ref = `${door.host}/killed:1`;
    const program = join(import.meta.dirname, 'puller.ts');
    const child = spawn(process.execPath, [program, dir, ref], { stdio: 'ignore' });
    const gone = once(child, 'exit');
    await until(() => door.asked.some((each) => each.includes('/blobs/')), WAIT_MS, 'the pull');
    child.kill('SIGKILL');
    await gone;
    await until(() => !isPulling(dir), WAIT_MS, 'the end of what it had started');
    const next = await again();
    release();
    expect(next.get(ref)).toBeUndefined();
    expect((await next.ensure(ref, {})).ref).toBe(ref);
  });

  test('whenever a store is killed, the next one has complete images and no leftovers', async () => {
    const files = Array.from({ length: 50 }, (_, i): Entry => ({ path: `file-${i}`, body: `${i}`.repeat(10_000) }));
    await registry.push('moment:1', { layers: [files] });
    await registry.push('moment:2', { layers: [files, [{ path: '.wh.file-0' }]] });
    const refs = [1, 2].map((tag) => `${registry.host}/moment:${tag}`);
    const { dir, again } = await own();
    for (let kills = 0; kills < 4; kills += 1) {
      const child = spawn(process.execPath, [join(import.meta.dirname, 'puller.ts'), dir, ...refs], {
        stdio: 'ignore',
      });
      const gone = once(child, 'exit');
      await until(() => readdirSync(join(dir, 'tmp')).length > 0, WAIT_MS, 'the first pull');
      // It may be anywhere by then: in a pull, in an unpacking, in a removal.
      await sleep(250 * kills);
      child.kill('SIGKILL');
      await gone;
      const next = await again();
      expect(readdirSync(join(dir, 'tmp'))).toEqual([]);
      const there = refs.filter((ref) => next.get(ref) !== undefined);
      expect(readdirSync(join(dir, 'images')).length).toBeGreaterThanOrEqual(there.length);
      for (const ref of there) {
        const names = readdirSync(rootOf(next, ref));
        expect(names).toHaveLength(ref.endsWith(':1') ? 50 : 49);
        expect(statSync(join(rootOf(next, ref), 'file-9')).size).toBe(10_000);
      }
    }
  });

  test('unreadable names are pulled again', async () => {
    await registry.push('noted:1', { layers: [layer('noted')] });
    const ref = `${registry.host}/noted:1`;
    const { store, dir, again } = await own();
    const { id } = await store.ensure(ref, {});
    writeFileSync(join(dir, 'references.json'), 'rubbish');
    const next = await again();
    expect(next.get(ref)).toBeUndefined();
    expect((await next.ensure(ref, {})).id).toBe(id);
  });

  test('over budget, the least recently used image is evicted, and never one in use', async () => {
    const refs: string[] = [];
    for (const name of ['a', 'b', 'c', 'd']) {
      await registry.push(`budget/${name}:1`, { layers: [layer(name.repeat(200_000))] });
      refs.push(`${registry.host}/budget/${name}:1`);
    }
    const [a = '', b = '', c = '', d = ''] = refs;
    // Room for two, not for three.
    const { store } = await own({ budgetBytes: 500_000, graceMs: -1 });
    store.hold((await store.ensure(a, {})).id);
    await store.ensure(b, {});
    expect(refs.filter((ref) => store.get(ref) !== undefined)).toEqual([a, b]);
    await store.ensure(c, {});
    expect(refs.filter((ref) => store.get(ref) !== undefined)).toEqual([a, c]);
    await store.ensure(d, {});
    expect(refs.filter((ref) => store.get(ref) !== undefined)).toEqual([a, d]);
  });

  test('a reference may be fetched from a mirror', async () => {
    await registry.push('library/mirrored:1', { layers: [layer('mirrored')] });
    const { store } = await own({ registry: { mirrors: { 'docker.io': registry.host }, insecure: [] } });
    expect((await store.ensure('mirrored:1', {})).ref).toBe('mirrored:1');
    expect((await store.list()).map(({ ref }) => ref)).toEqual(['mirrored:1']);
  });
});

/** Whether any process of the machine is pulling into this directory. */
function isPulling(dir: string): boolean {
  return readdirSync('/proc').some((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`oci:${dir}/`);
    } catch {
      return false;
    }
  });
}
