import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createAuth } from './auth/auth.ts';
import { ConfigError, loadConfig } from './config.ts';

const SECRET = 'sixteen characters or more';
const GOOD = { MILLIBOX_API_KEY: 'a good long key', MILLIBOX_NODE_SECRET: SECRET };

test('defaults: loopback, one node on the same machine', () => {
  const config = loadConfig(GOOD);
  expect(config.listen).toEqual({ host: '127.0.0.1', port: 8700 });
  expect(config.nodes).toEqual([{ name: null, url: 'ws://127.0.0.1:8701' }]);
});

test('nodes with and without names, listen addresses of both families, secrets from files', () => {
  const dir = mkdtempSync(join(tmpdir(), 'millibox-config-'));
  try {
    writeFileSync(join(dir, 'secret'), `${SECRET}\n`);
    writeFileSync(join(dir, 'key'), 'a key in a file\n');
    const config = loadConfig({
      MILLIBOX_LISTEN: '[::1]:9000',
      MILLIBOX_NODES: 'a=ws://10.0.0.1:1, ws://b:2',
      MILLIBOX_NODE_SECRET_FILE: join(dir, 'secret'),
      MILLIBOX_API_KEY_FILE: join(dir, 'key'),
    });
    expect(config).toMatchObject({
      listen: { host: '::1', port: 9000 },
      nodes: [
        { name: 'a', url: 'ws://10.0.0.1:1' },
        { name: null, url: 'ws://b:2' },
      ],
      nodeSecret: SECRET,
    });
    expect(createAuth(config.keys).byKey('a key in a file')).toEqual({ tenant: 'default', admin: true });
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test('keys are given as hashes, by tenant, and identify it', () => {
  const hash = (text: string) => createHash('sha256').update(text).digest('hex');
  const { keys } = loadConfig({
    MILLIBOX_NODE_SECRET: SECRET,
    MILLIBOX_API_KEYS: `red:${hash('red-key')},blue:${hash('blue-key')}:admin`,
  });
  const auth = createAuth(keys);
  expect(auth.byHeader('Bearer red-key')).toEqual({ tenant: 'red', admin: false });
  expect(auth.byHeader('bearer blue-key')).toEqual({ tenant: 'blue', admin: true });
  for (const header of [
    undefined,
    '',
    'Bearer',
    'Bearer ',
    'red-key',
    'Basic red-key',
    `Bearer ${hash('red-key')}`,
    'Bearer red-key x',
    `Bearer ${'x'.repeat(5000)}`,
  ]) {
    expect(() => auth.byHeader(header)).toThrow(expect.objectContaining({ code: 'unauthenticated' }));
  }
});

test('all problems are reported at once, without any secret', () => {
  const bad = (env: Record<string, string>): string => {
    try {
      loadConfig(env);
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError);
      return (error as Error).message;
    }
    throw new Error('accepted');
  };
  const all = bad({
    MILLIBOX_LISTEN: 'nowhere',
    MILLIBOX_NODES: 'http://x',
    MILLIBOX_API_KEYS: 'tenant:my-plain-key',
    MILLIBOX_QUEUE_MAX: 'many',
    MILLIBOX_LOG_LEVEL: 'loud',
  });
  const wrong = ['LISTEN', 'NODES', 'NODE_SECRET', 'API_KEYS', 'QUEUE_MAX', 'LOG_LEVEL'];
  for (const name of wrong) expect(all).toContain(`MILLIBOX_${name}`);
  expect(all).not.toContain('my-plain-key');
  expect(bad({ ...GOOD, MILLIBOX_NODE_SECRET: 'short' })).not.toContain('short:');
  expect(bad({ ...GOOD, MILLIBOX_NODES: 'ws://a:1,ws://a:1' })).toContain('MILLIBOX_NODES');
  expect(bad({ ...GOOD, MILLIBOX_QUEUE_MAX: '-1' })).toContain('MILLIBOX_QUEUE_MAX');
  expect(bad({ ...GOOD, MILLIBOX_LISTEN: 'a:99999' })).toContain('MILLIBOX_LISTEN');
  expect(bad({ MILLIBOX_NODE_SECRET: SECRET })).toContain('no API key');
  const redis = bad({ ...GOOD, MILLIBOX_REDIS_URL: 'http://:my-password@host:6379' });
  expect(redis).toContain('MILLIBOX_REDIS_URL');
  expect(redis).not.toContain('my-password');
  const escaped = bad({ ...GOOD, MILLIBOX_REDIS_URL: 'redis://:my%password@host:6379' });
  expect(escaped).toContain('MILLIBOX_REDIS_URL: a % in the user name or password must be written as %25');
  for (const path of ['prod', '-1', '1/2', '1.5', '0x1']) {
    expect(bad({ ...GOOD, MILLIBOX_REDIS_URL: `redis://host:6379/${path}` })).toContain('[/database]');
  }
});

test('a tenants file that cannot be read is the one fault named, and not that it has no keys', () => {
  const dir = mkdtempSync(join(tmpdir(), 'millibox-config-'));
  try {
    const file = join(dir, 'tenants.json');
    writeFileSync(file, JSON.stringify({ tenants: { ci: { sandboxs: 50, keys: [{ sha256: '0'.repeat(64) }] } } }));
    const load = () => loadConfig({ MILLIBOX_NODE_SECRET: SECRET, MILLIBOX_TENANTS_FILE: file });
    expect(load).toThrow(/sandboxs/);
    expect(load).not.toThrow(/no API key/);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test('a default image that no reference names is refused at the start, and an empty one is none', () => {
  expect(() => loadConfig({ ...GOOD, MILLIBOX_DEFAULT_IMAGE: 'Python:3.12' })).toThrow(
    'MILLIBOX_DEFAULT_IMAGE: not an image reference',
  );
  expect(loadConfig({ ...GOOD, MILLIBOX_DEFAULT_IMAGE: '' }).defaultImage).toBe(null);
  expect(loadConfig({ ...GOOD, MILLIBOX_DEFAULT_IMAGE: 'python:3.12' }).defaultImage).toBe('python:3.12');
});
