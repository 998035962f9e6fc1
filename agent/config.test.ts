import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { inspect } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { loadConfig } from './config.ts';

const base = { MILLIBOX_NODE_SECRET: 'a secret of some length' };

test('an unset variable takes its default', () => {
  const config = loadConfig(base);
  expect(config).toMatchObject({ listen: { host: '127.0.0.1', port: 8701 }, runtime: 'auto', onStop: 'keep' });
});

test('a variable set to the empty string counts as unset', () => {
  const names = readFileSync(new URL('config.ts', import.meta.url), 'utf8').match(/^ {2}MILLIBOX_\w+(?=:)/gm) ?? [];
  expect(names.length).toBeGreaterThan(20);
  const empty = Object.fromEntries(names.map((name) => [name.trim(), '']));
  expect(loadConfig({ ...empty, ...base })).toEqual(loadConfig(base));
  expect(() => loadConfig(empty)).toThrow('needs MILLIBOX_NODE_SECRET');
});

test.for([' ', '1e3', '0x10', '-0', '1.5', 'many'])('a number consists of digits only, unlike "%s"', (text) => {
  expect(() => loadConfig({ ...base, MILLIBOX_MAX_SANDBOXES: text })).toThrow('MAX_SANDBOXES');
});

test('a directory is normalised, however it is written', () => {
  const spelt = { MILLIBOX_DATA_DIR: '/data/agent/', MILLIBOX_IMAGES_DIR: '/data//x/../images/' };
  const config = loadConfig({ ...base, ...spelt });
  expect([config.dataDir, config.oci.imagesDir]).toEqual(['/data/agent', '/data/images']);
  expect(() => loadConfig({ ...base, MILLIBOX_DATA_DIR: 'data' })).toThrow('MILLIBOX_DATA_DIR');
});

test.for(['a:b', 'a,b', 'a\\b', 'a"b', 'a\tb', 'a\nb'])(
  'a directory that tools would read as two is refused: %j',
  (name) => {
    for (const variable of ['MILLIBOX_DATA_DIR', 'MILLIBOX_IMAGES_DIR'])
      expect(() => loadConfig({ ...base, [variable]: `/data/${name}` })).toThrow(
        `${variable}: must not contain a colon`,
      );
  },
);

test('a data directory is short enough for the sockets below it', () => {
  const ofLength = (bytes: number): string => `/${'ü'.repeat((bytes - 1) / 2)}`;
  expect(loadConfig({ ...base, MILLIBOX_DATA_DIR: ofLength(65) }).dataDir).toBe(ofLength(65));
  expect(() => loadConfig({ ...base, MILLIBOX_DATA_DIR: ofLength(67) })).toThrow(/MILLIBOX_DATA_DIR: .*65 bytes/);
});

test('warm containers have limits that a sandbox may have', () => {
  const limits = { MILLIBOX_POOL_CPUS: '0.01', MILLIBOX_POOL_MEMORY_MB: '16', MILLIBOX_POOL_PIDS: '8' };
  expect(loadConfig({ ...base, ...limits }).pool.limits).toMatchObject({ cpus: 0.01, memoryMb: 16, pidsLimit: 8 });
  for (const [name, text] of [
    ['MILLIBOX_POOL_CPUS', '0.001'],
    ['MILLIBOX_POOL_MEMORY_MB', '15'],
    ['MILLIBOX_POOL_PIDS', '0'],
  ] as const)
    expect(() => loadConfig({ ...base, [name]: text })).toThrow(name);
});

test.for(['dns.example', '2001:db8::53', '10.0.0.2:53', '999.1.1.1', '10.0.0.2,x'])(
  'a name server is an IPv4 address, unlike "%s"',
  (text) => {
    expect(loadConfig({ ...base, MILLIBOX_RESOLVERS: '10.0.0.2, 1.1.1.1' }).oci.resolvers).toEqual([
      '10.0.0.2',
      '1.1.1.1',
    ]);
    expect(() => loadConfig({ ...base, MILLIBOX_RESOLVERS: text })).toThrow('MILLIBOX_RESOLVERS');
  },
);

test.for(['10.9.0.0', '10.999.0.0/16', '10.9.0.0/33', '10.9.1.0/16', 'fd00::/64'])(
  'what addresses sandboxes get is a network, unlike "%s"',
  (text) => {
    expect(loadConfig({ ...base, MILLIBOX_SANDBOX_SUBNET: '10.9.0.0/16' }).oci.subnet).toBe('10.9.0.0/16');
    expect(() => loadConfig({ ...base, MILLIBOX_SANDBOX_SUBNET: text })).toThrow('MILLIBOX_SANDBOX_SUBNET');
  },
);

test('the secret is never printed', () => {
  const config = loadConfig(base);
  expect(inspect(config, { depth: 9 }) + JSON.stringify(config) + String(config.nodeSecret)).not.toContain(
    'some length',
  );
  expect(config.nodeSecret.reveal()).toBe('a secret of some length');
});

test('all invalid variables are reported at once', () => {
  const bad = { ...base, MILLIBOX_AGENT_LISTEN: 'nowhere', MILLIBOX_POOL_MIN: '-3', MILLIBOX_RUNTIME: 'vm' };
  expect(() => loadConfig(bad)).toThrow(/LISTEN[^]*RUNTIME[^]*POOL_MIN/);
});

test('a missing or short secret is refused', () => {
  expect(() => loadConfig({})).toThrow('MILLIBOX_NODE_SECRET');
  expect(() => loadConfig({ MILLIBOX_NODE_SECRET: 'short' })).toThrow('MILLIBOX_NODE_SECRET');
});

test('an unreadable secret file is reported, with the variable that names it', () => {
  const missing = { MILLIBOX_NODE_SECRET_FILE: '/no/such/file' };
  expect(() => loadConfig(missing)).toThrow(/MILLIBOX_NODE_SECRET_FILE[^]*\/no\/such\/file/);
  const short = { MILLIBOX_NODE_SECRET_FILE: '/dev/null' };
  expect(() => loadConfig(short)).toThrow(/MILLIBOX_NODE_SECRET_FILE[^]*at least 16/);
});

test('an address may be IPv6, and its port must be valid', () => {
  expect(loadConfig({ ...base, MILLIBOX_AGENT_LISTEN: '[::1]:80' }).listen).toEqual({ host: '::1', port: 80 });
  expect(() => loadConfig({ ...base, MILLIBOX_AGENT_LISTEN: 'a:70000' })).toThrow('65535');
});

test('the base image file may be missing, but not unreadable', () => {
  expect(loadConfig({ ...base, MILLIBOX_BASE_IMAGE_FILE: '/nowhere/at/all' }).oci.archives).toEqual({});
  // Stands in for any error other than ENOENT.
  const unreadable = { ...base, MILLIBOX_BASE_IMAGE_FILE: '/' };
  expect(() => loadConfig(unreadable)).toThrow('MILLIBOX_BASE_IMAGE_FILE cannot be read');
});

test.for([
  ['MILLIBOX_DEFAULT_IMAGE', 'Python:3.12'],
  ['MILLIBOX_DEFAULT_IMAGE', ' python'],
  ['MILLIBOX_DEFAULT_IMAGE', 'https://ghcr.io/org/name:1'],
  ['MILLIBOX_DEFAULT_IMAGE', `sha256:${'0'.repeat(64)}`],
])('an image that no reference names is refused at the start: %s=%s', ([name, value]) => {
  expect(() => loadConfig({ ...base, [name as string]: value })).toThrow(
    `${name}: "${value}" is not an image reference: write it as python:3.12-slim`,
  );
});

test.for([
  ['MILLIBOX_REGISTRY_MIRRORS', 'docker.io=https://mirror.local'],
  ['MILLIBOX_REGISTRY_MIRRORS', 'docker.io=mirror'],
  ['MILLIBOX_REGISTRY_MIRRORS', 'index.docker.io=mirror.local:5000'],
  ['MILLIBOX_INSECURE_REGISTRIES', 'http://registry.local:5000'],
  ['MILLIBOX_INSECURE_REGISTRIES', 'registry.local:5000/org'],
])('a registry that no reference names is refused at the start: %s=%s', ([name, value]) => {
  expect(() => loadConfig({ ...base, [name as string]: value })).toThrow(
    new RegExp(`${name}.*is not a registry: write it as ghcr.io or registry.local:5000`),
  );
});

test('registries are named with a port, and mirrors may be places below one', () => {
  const set = {
    MILLIBOX_REGISTRY_MIRRORS: 'docker.io=mirror:5000/docker.io,ghcr.io=10.0.0.1:5001',
    MILLIBOX_INSECURE_REGISTRIES: 'mirror:5000, localhost registry.local',
  };
  expect(loadConfig({ ...base, ...set }).oci.registry).toMatchObject({
    mirrors: { 'docker.io': 'mirror:5000/docker.io', 'ghcr.io': '10.0.0.1:5001' },
    insecure: ['mirror:5000', 'localhost', 'registry.local'],
  });
});

test('a base image without a name is found at the start, with its line', () => {
  const file = path.join(mkdtempSync(path.join(tmpdir(), 'mbx-config-')), 'images');
  onTestFinished(() => rmSync(path.dirname(file), { recursive: true }));
  const set = { ...base, MILLIBOX_BASE_IMAGE_FILE: file };
  writeFileSync(file, 'base:1\n/base.tar\nBase:2\n/other.tar\n');
  expect(() => loadConfig(set)).toThrow(`MILLIBOX_BASE_IMAGE_FILE: line 3 of ${file}: "Base:2" is not an image`);
  writeFileSync(file, 'base:1\n/base.tar\n');
  expect(loadConfig(set).oci.archives).toEqual({ 'base:1': '/base.tar' });
});
