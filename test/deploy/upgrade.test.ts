/** Secrets that the chart made at the install, seen by an upgrade: against an API server that answers what Helm asks. */
import { createServer, type Server } from 'node:http';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { only, render, type Manifest } from './manifests.ts';
import { because, lacking } from './tools.ts';

const missing = lacking('helm');
const SECRETS = '/api/v1/namespaces/boxes/secrets/';

/** Just enough of the API for `lookup`: which kinds there are, and secrets by name. */
class Cluster {
  readonly secrets = new Map<string, Manifest>();
  readonly asked = new Set<string>();
  readonly #server: Server;

  private constructor() {
    this.#server = createServer(({ url = '', method }, response) => {
      const { pathname } = new URL(url, 'http://cluster');
      const body = method === 'GET' ? this.#answer(pathname) : undefined;
      const failure = { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'NotFound', code: 404 };
      response.writeHead(body === undefined ? 404 : 200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body ?? failure));
    });
  }

  static async open(): Promise<Cluster> {
    const cluster = new Cluster();
    await new Promise<void>((resolve) => cluster.#server.listen(0, '127.0.0.1', resolve));
    return cluster;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  #answer(pathname: string): object | undefined {
    if (pathname === '/version') return { major: '1', minor: '34', gitVersion: 'v1.34.0' };
    if (pathname === '/api') return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] };
    if (pathname === '/apis') return { kind: 'APIGroupList', apiVersion: 'v1', groups: [] };
    if (pathname === '/api/v1') {
      const secrets = { name: 'secrets', singularName: 'secret', namespaced: true, kind: 'Secret', verbs: ['get'] };
      return { kind: 'APIResourceList', groupVersion: 'v1', resources: [secrets] };
    }
    if (!pathname.startsWith(SECRETS)) return undefined;
    const name = pathname.slice(SECRETS.length);
    this.asked.add(name);
    return this.secrets.get(name);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

describe.skipIf(missing.length > 0)(`an upgrade${because(missing)}`, () => {
  let dir: string;
  let cluster: Cluster;
  let kubeconfig: string;

  beforeAll(async () => {
    dir = mkdtempSync(path.join(tmpdir(), 'mb-upgrade-'));
    cluster = await Cluster.open();
    kubeconfig = path.join(dir, 'kubeconfig');
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'here',
      clusters: [{ name: 'here', cluster: { server: cluster.url } }],
      users: [{ name: 'me', user: {} }],
      contexts: [{ name: 'here', context: { cluster: 'here', user: 'me' } }],
    };
    writeFileSync(kubeconfig, JSON.stringify(config));
  });
  afterAll(async () => {
    await cluster.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const upgrade = (values: object = {}): Promise<Manifest[]> =>
    render({ values, args: ['--dry-run=server', '--is-upgrade', '--kubeconfig', kubeconfig] });

  test('keeps the node secret and the key that the install made', async () => {
    const installed = await upgrade();
    const made = installed.filter(({ kind }) => kind === 'Secret');
    expect(made.map(({ metadata }) => metadata.name).sort()).toEqual([...cluster.asked].sort());
    for (const secret of made) cluster.secrets.set(secret.metadata.name, secret);

    const upgraded = await upgrade({ gateway: { logLevel: 'debug' } });
    expect(upgraded.filter(({ kind }) => kind === 'Secret')).toEqual(made);
  });

  test('adds keys beside the one that was made', async () => {
    const hash = 'cd'.repeat(32);
    const before = cluster.secrets.get('millibox-api-keys');
    const after = only(await upgrade({ auth: { keys: [{ tenant: 'team', sha256: hash }] } }), 'Secret', 'api-keys');
    expect(after.data?.['admin-key']).toBe(before?.data?.['admin-key']);
    const lines = Buffer.from(after.data?.['api-keys'] ?? '', 'base64').toString();
    expect(lines).toBe(`${Buffer.from(before?.data?.['api-keys'] ?? '', 'base64').toString()}\nteam:${hash}`);
  });
});
