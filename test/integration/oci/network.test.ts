/**
 * What sandboxes can reach. Node and world are network namespaces of this test: each address tried is held by a
 * stand-in in the second, and nothing is sent anywhere else.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const run = promisify(execFile);
const NODE = `mbxn${process.pid}`;
const WORLD = `mbxw${process.pid}`;
const imagesDir = mkdtempSync(path.join(tmpdir(), 'mbx-images-'));
const inNamespace = (name: string, ...command: string[]): string[] => [`--net=/run/netns/${name}`, ...command];

const PUBLIC = ['203.0.113.10:80', '203.0.113.11:443'];
const HIDDEN = ['169.254.169.254:80', '10.99.0.1:80', '192.168.7.7:80', '172.20.0.1:80', '100.64.0.9:80'];
/** A resolver may be at a private address; only its DNS port is open. */
const RESOLVER = ['10.99.0.53:53', '10.99.0.53:80'];
/** The node's own address on its uplink. */
const HOST = ['198.51.100.1:2375'];

const SERVER = `
const net = require('node:net');
const serve = (port) => new Promise((done) =>
  net.createServer((s) => s.on('error', () => {}).end('hello\\n')).listen(port, '0.0.0.0', done));
Promise.all([80, 443, 53].map(serve)).then(() => console.log('ready'));
`;

let world: ReturnType<typeof spawn> | undefined;

beforeAll(async () => {
  for (const name of [NODE, WORLD]) {
    await run('ip', ['netns', 'add', name]);
    await run('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  }
  await run('ip', ['-n', NODE, 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'w0', 'netns', WORLD]);
  await run('ip', ['-n', NODE, 'addr', 'add', '198.51.100.1/24', 'dev', 'up0']);
  await run('ip', ['-n', WORLD, 'addr', 'add', '198.51.100.2/24', 'dev', 'w0']);
  await run('ip', ['-n', NODE, 'link', 'set', 'up0', 'up']);
  await run('ip', ['-n', WORLD, 'link', 'set', 'w0', 'up']);
  await run('ip', ['-n', NODE, 'route', 'add', 'default', 'via', '198.51.100.2']);
  const held = new Set([...PUBLIC, ...HIDDEN, ...RESOLVER].map((each) => each.split(':')[0] ?? ''));
  for (const address of held) await run('ip', ['-n', WORLD, 'addr', 'add', `${address}/32`, 'dev', 'lo']);
  world = spawn('nsenter', inNamespace(WORLD, process.execPath, '-e', SERVER), {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (world.stdout !== null) await once(world.stdout, 'data');
});

afterAll(async () => {
  world?.kill('SIGKILL');
  for (const name of [NODE, WORLD]) await run('ip', ['netns', 'delete', name]).catch(() => undefined);
  rmSync(imagesDir, { recursive: true, force: true });
});

test('the public world is reachable; private addresses, the host and neighbours are not; off means off', async () => {
  const program = path.join(import.meta.dirname, 'network-node.ts');
  const targets = [...PUBLIC, ...HIDDEN, ...RESOLVER, ...HOST];
  // The stand-ins answer the node itself: targets that a sandbox cannot reach are blocked, not missing.
  const probe = `require('node:net').connect(80, '169.254.169.254').on('data', (d) => process.stdout.write(d))`;
  expect((await run('nsenter', inNamespace(NODE, process.execPath, '-e', probe))).stdout).toBe('hello\n');
  const { stdout } = await run('nsenter', inNamespace(NODE, process.execPath, program, 'oci', imagesDir, ...targets), {
    timeout: 150_000,
  });
  const report = JSON.parse(stdout) as Record<'online' | 'off', Record<string, string>> & Record<string, string>;
  const all = (names: string[], state: string): Record<string, string> =>
    Object.fromEntries(names.map((name) => [name, state]));
  expect(report.online).toEqual({
    ...all(PUBLIC, 'open'),
    ...all(HIDDEN, 'closed'),
    '10.99.0.53:53': 'open',
    '10.99.0.53:80': 'closed',
    ...all([...HOST, 'neighbour', 'gateway'], 'closed'),
  });
  expect(report.off).toEqual(all([...targets, 'neighbour', 'gateway'], 'closed'));
  expect(report['neighbourItself']).toBe('open');
  expect(report['resolvers']).toBe('nameserver 10.99.0.53');
  expect(report['offResolvers']).toBe('');
  expect(report['ipv6']).toBe('');
  // Nothing is left in the node's namespace.
  expect((await run('nsenter', inNamespace(NODE, 'nft', 'list', 'tables'))).stdout).not.toContain('millibox');
  expect((await run('ip', ['-n', NODE, '-o', 'link'])).stdout).not.toContain('mbx-');
}, 180_000);
