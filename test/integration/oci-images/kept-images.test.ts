/** Images that must stay although they lost their name, or although something about them cannot be read. */
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Catalogue } from '../../../agent/images/catalogue.ts';
import type { Image } from '../../../agent/runtime/runtime.ts';
import { silent } from '../../../src/lib/logger.ts';
import { because, codeOf, lacking, openStore, rootOf, type OwnStore } from './store.ts';
import { tar } from './tar.ts';

describe.skipIf(lacking !== '')(`images that must stay${because}`, () => {
  let own: OwnStore;
  let home: string;
  beforeEach(async () => {
    home = mkdtempSync(join(tmpdir(), 'mbx-kept-'));
    own = await openStore({ graceMs: -1 });
  });
  afterEach(async () => {
    await own.dispose();
    rmSync(home, { recursive: true, force: true });
  });

  const archiveOf = (text: string): string => {
    const path = join(home, `${text}.tar`);
    writeFileSync(path, tar([{ path: 'file', body: text }]));
    return path;
  };
  const hexOf = ({ id }: Image): string => id.slice('sha256:'.length);
  const directoryOf = (image: Image): string => join(own.dir, 'images', hexOf(image));
  const kept = (): string[] => readdirSync(join(own.dir, 'images'));

  test('one whose name has moved is listed by its id, and can be removed by it once no sandbox uses it', async () => {
    const before = await own.store.importTar('moves:1', archiveOf('before'));
    own.store.hold(before.id);
    const after = await own.store.importTar('moves:1', archiveOf('after'));
    const nameless = { ref: before.id, id: before.id, inUse: true };
    expect(await own.store.list()).toMatchObject([{ ref: 'moves:1', id: after.id, inUse: false }, nameless]);
    expect(await codeOf(own.store.remove(before.id))).toBe('invalid_request');

    own.store.release(before.id);
    await own.store.remove(before.id);
    expect(await own.store.list()).toMatchObject([{ ref: 'moves:1', id: after.id }]);
    expect(kept()).toEqual([hexOf(after)]);
    // One that has a name is removed by that. No registry is asked for an id.
    expect(await codeOf(own.store.remove(after.id))).toBe('image_not_found');
    expect(await codeOf(own.store.ensure(before.id, {}))).toBe('image_invalid');
  });

  test('one that is removed before its import has ended is not found any more', async () => {
    const importing = own.store.importTar('brief:1', archiveOf('brief'));
    while ((await own.store.list()).length === 0) await new Promise((resolve) => setImmediate(resolve));
    await own.store.remove('brief:1');
    await importing;
    expect(own.store.get('brief:1')).toBeUndefined();
  });

  test('one that gets another name just before it is removed stays, under that name', async () => {
    const catalogue = await Catalogue.open(own.dir, silent);
    const image = { id: `sha256:${'a'.repeat(64)}`, env: {}, workdir: '/', user: '', sizeBytes: 1 };
    const made = async (): Promise<string> => {
      const dir = join(await catalogue.workDir(), 'made');
      mkdirSync(join(dir, 'fs'), { recursive: true });
      return dir;
    };
    await catalogue.add('docker.io/library/first:1', image, await made());
    const naming = catalogue.add('docker.io/library/second:1', image, await made());
    await Promise.all([naming, catalogue.drop(image.id)]);
    for (const each of [catalogue, await Catalogue.open(own.dir, silent)]) {
      expect(each.byReference('docker.io/library/first:1')).toBeUndefined();
      expect(each.byReference('docker.io/library/second:1')).toEqual(image);
      expect(readdirSync(each.rootOf(image.id))).toEqual([]);
    }
    await catalogue.drop(image.id);
    expect(kept()).toEqual([]);
  });

  test('one that could not be removed is not found, and can be imported again', async () => {
    const image = await own.store.importTar('stuck:1', archiveOf('stuck'));
    rmSync(join(own.dir, 'tmp'), { recursive: true });
    await expect(own.store.remove('stuck:1')).rejects.toThrow('ENOENT');
    mkdirSync(join(own.dir, 'tmp'));
    expect(own.store.get('stuck:1')).toBeUndefined();
    expect((await own.store.importTar('stuck:1', archiveOf('stuck'))).id).toBe(image.id);
    expect(readFileSync(join(rootOf(own.store, 'stuck:1'), 'file'), 'utf8')).toBe('stuck');
    expect((await own.again()).get('stuck:1')?.id).toBe(image.id);
  });

  test('one without a name that is in use stays when the disk refuses to give it a name again', async () => {
    const image = await own.store.importTar('one:1', archiveOf('one'));
    own.store.hold(image.id);
    await own.store.importTar('one:1', archiveOf('other'));
    const blocked = join(own.dir, 'references.json.new');
    mkdirSync(blocked);
    await expect(own.store.importTar('again:1', archiveOf('one'))).rejects.toThrow('EISDIR');
    rmdirSync(blocked);
    expect(readFileSync(join(own.store.layersOf(image)[0] ?? '', 'file'), 'utf8')).toBe('one');
    expect(own.store.get('again:1')).toBeUndefined();
  });

  test('one that is new does not stay when the disk refuses to name it', async () => {
    mkdirSync(join(own.dir, 'references.json.new'));
    await expect(own.store.importTar('new:1', archiveOf('new'))).rejects.toThrow('EISDIR');
    expect(kept()).toEqual([]);
  });

  test.each([
    ['cannot be read', (file: string) => (rmSync(file), mkdirSync(file)), (file: string) => rmdirSync(file)],
    ['is of another release', (file: string) => writeFileSync(file, '{"form":"new"}'), () => undefined],
  ])('one whose description %s stays, with its name, and is found again once it can be', async (_what, spoil, mend) => {
    const image = await own.store.importTar('own:1', archiveOf('own'));
    const file = join(directoryOf(image), 'image.json');
    const text = readFileSync(file, 'utf8');
    spoil(file);
    const logged: object[] = [];
    const next = await own.again({ log: { ...silent, error: (fields) => void logged.push(fields) } });
    expect(next.get('own:1')).toBeUndefined();
    expect(logged).toMatchObject([{ image: image.id }]);
    // References are written, and room is made.
    await next.importTar('other:1', archiveOf('other'));
    expect(readFileSync(join(directoryOf(image), 'fs', 'file'), 'utf8')).toBe('own');

    mend(file);
    writeFileSync(file, text);
    expect((await own.again()).get('own:1')?.id).toBe(image.id);
  });

  test('one whose description cannot be read is there again when it is brought again; its files are the same', async () => {
    const image = await own.store.importTar('own:1', archiveOf('own'));
    writeFileSync(join(directoryOf(image), 'image.json'), '{"form":"new"}');
    const next = await own.again();
    // As a sandbox that runs on it would see it.
    writeFileSync(join(directoryOf(image), 'fs', 'mark'), 'the same tree');
    expect((await next.importTar('own:2', archiveOf('own'))).id).toBe(image.id);
    expect(readFileSync(join(rootOf(next, 'own:2'), 'mark'), 'utf8')).toBe('the same tree');
    expect([...(await (await own.again()).list())].map(({ ref }) => ref).sort()).toEqual(['own:1', 'own:2']);
  });

  test('names that cannot be read are not forgotten: the store does not open', async () => {
    await own.store.importTar('own:1', archiveOf('own'));
    const file = join(own.dir, 'references.json');
    renameSync(file, `${file}.kept`);
    mkdirSync(file);
    await expect(own.again()).rejects.toThrow('EISDIR');
    rmdirSync(file);
    renameSync(`${file}.kept`, file);
    expect((await own.again()).get('own:1')).toBeDefined();
  });
});
