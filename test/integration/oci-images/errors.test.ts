/** Each reason why an image is unavailable has its own code. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { silent } from '../../../src/lib/logger.ts';
import { freePort } from '../../helpers/ports.ts';
import { until } from '../../helpers/until.ts';
import { Door, PASSWORD, Registry, USER } from './registry.ts';
import { because, codeOf, lacking, openStore, type OwnStore } from './store.ts';

const WAIT_MS = 60_000;
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

  test('missing or wrong credentials', async () => {
    const ref = `${closed.host}/private:1`;
    expect(await codeOf(own.store.ensure(ref, {}))).toBe('image_unauthorized');
    const registry = { mirrors: {}, insecure: [], authFile: closed.authFile('wrong') };
    expect(await codeOf((await own.again({ registry })).ensure(ref, {}))).toBe('image_unauthorized');
  });

  test('unreadable credentials: the log has the file and the fault, the tenant neither, and nobody a secret', async () => {
    const ref = `${closed.host}/private:1`;
    const whole = readFileSync(closed.authFile(), 'utf8');
    const authFile = join(own.dir, 'broken.json');
    const logged: unknown[] = [];
    const log = { ...silent, warn: (fields: object) => void logged.push(fields) };
    const told = async (text: string | null): Promise<string> => {
      if (text === null) rmSync(authFile);
      else writeFileSync(authFile, text);
      const store = await own.again({ registry: { mirrors: {}, insecure: [], authFile }, log });
      return String(await store.ensure(ref, {}).catch((error: unknown) => error));
    };
    const auth = Buffer.from(`${USER}:${PASSWORD}`).toString('base64');
    for (const [text, fault] of [
      [whole.slice(0, -3), 'it is not valid JSON'],
      [whole.replace(auth, `${USER}:${PASSWORD}`), `the "auth" of ${closed.host} is not NAME:PASSWORD in base64`],
      ['[]', 'it is not a Docker config.json'],
      [null, 'there is no such file'],
    ] as const) {
      const message = await told(text);
      expect(message).toContain('cannot be used');
      for (const ours of [authFile, fault]) expect(message).not.toContain(ours);
      const said = inspect(logged.splice(0), { depth: null });
      expect(said).toContain(`${authFile}: ${fault}`);
      for (const secret of [PASSWORD, auth]) expect(message + said).not.toContain(secret);
    }
  });

  test('a failing helper is not mistaken for a bad image', async () => {
    const authFile = join(own.dir, 'helper.json');
    writeFileSync(authFile, JSON.stringify({ credHelpers: { [closed.host]: 'millibox-nowhere' } }));
    const store = await own.again({ registry: { mirrors: {}, insecure: [], authFile } });
    expect(await codeOf(store.ensure(`${closed.host}/private:1`, {}))).toBe('image_unauthorized');
  });

  test('the right credentials work', async () => {
    const registry = { mirrors: {}, insecure: [], authFile: closed.authFile() };
    const other = await openStore({ registry });
    try {
      expect(await codeOf(other.store.ensure(`${closed.host}/private:1`, {}))).toBe('no error');
    } finally {
      await other.dispose();
    }
  });

  test('credentials are in no argument, environment or log', async () => {
    const door = await Door.open(closed);
    const release = door.hold();
    const logged: string[] = [];
    const log = { ...silent, warn: (...words: unknown[]) => logged.push(inspect(words, { depth: null })) };
    const authFile = closed.authFile(PASSWORD, door.host);
    const other = await openStore({ registry: { mirrors: {}, insecure: [], authFile }, log });
    const leaving = new AbortController();
    try {
      const left = codeOf(other.store.ensure(`${door.host}/private:1`, { signal: leaving.signal }));
      await until(() => door.asked.some((each) => each.includes('/blobs/')), WAIT_MS, 'the pull');
      const told = toldOf((text) => text.includes(other.dir));
      expect(told).toContain('skopeo');
      leaving.abort();
      await left;
      expect(await codeOf(other.store.ensure(`${door.host}/private:2`, {}))).toBe('image_not_found');
      expect(logged.join()).toContain('private:2');
      for (const secret of [PASSWORD, Buffer.from(`${USER}:${PASSWORD}`).toString('base64')]) {
        expect(told + logged.join()).not.toContain(secret);
      }
    } finally {
      release();
      await other.dispose();
      await door.close();
    }
  });

  test('a mirror that is down: no other registry is contacted', async () => {
    const mirror = `127.0.0.1:${await freePort()}`;
    const store = await own.again({ registry: { mirrors: { [open.host]: mirror }, insecure: [] } });
    expect(await codeOf(store.ensure(`${open.host}/there:1`, {}))).toBe('image_unreachable');
  });

  test('an unreachable registry', async () => {
    const ref = `127.0.0.1:${await freePort()}/there:1`;
    expect(await codeOf(own.store.ensure(ref, {}))).toBe('image_unreachable');
  });

  test('an invalid reference: no registry is contacted', async () => {
    for (const ref of ['', 'UPPER', '-x', '../../etc', 'a b', 'a@sha256:12', 'docker://x', '--help']) {
      expect(await codeOf(own.store.ensure(ref, {})), ref).toBe('image_invalid');
      expect(own.store.get(ref)).toBeUndefined();
    }
  });

  test('nothing is left behind', async () => {
    await codeOf(own.store.ensure(`${open.host}/there:3`, {}));
    expect(readdirSync(join(own.dir, 'tmp'))).toEqual([]);
    expect(readdirSync(join(own.dir, 'images'))).toEqual([]);
  });
});

/** Arguments and environments of all processes whose arguments match. */
function toldOf(meant: (commandLine: string) => boolean): string {
  return readdirSync('/proc')
    .map((pid) => {
      try {
        const commandLine = readFileSync(`/proc/${Number(pid)}/cmdline`, 'utf8');
        return meant(commandLine) ? commandLine + readFileSync(`/proc/${pid}/environ`, 'utf8') : '';
      } catch {
        return '';
      }
    })
    .join('\n');
}
