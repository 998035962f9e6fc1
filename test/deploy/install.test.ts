/** The install script, into a directory: the installed service starts with the installed files. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { allowedEnvironment, setupHome } from '../helpers/config.ts';
import { parseEnvironmentFile } from './settings.ts';
import { ROOT, run } from './tools.ts';

const INSTALL_MS = 300_000;
const START_MS = 60_000;

describe('the install script', () => {
  let root: string;
  const etc = (name: string): string => path.join(root, 'etc/millibox', name);
  const opt = (name: string): string => path.join(root, 'opt/millibox', name);
  const install = async (clone = ROOT): Promise<void> => {
    const env = { ...allowedEnvironment(), MILLIBOX_HOME: setupHome(), DESTDIR: root };
    const { status, stderr } = await run('bash', [path.join(clone, 'deploy/systemd/install.sh')], {
      env,
      timeout: INSTALL_MS,
    });
    expect(status, stderr).toBe(0);
  };

  beforeAll(async () => {
    root = mkdtempSync(path.join(tmpdir(), 'mb-install-'));
    // The clone may be anywhere: behind a symbolic link, and with a name full of special characters.
    const clone = path.join(root, 'c++ (my clone)#1');
    symlinkSync(ROOT, clone);
    await install(clone);
  }, INSTALL_MS);
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  test('installs what the units name', () => {
    for (const unit of ['millibox-gateway.service', 'millibox-agent.service']) {
      const text = readFileSync(path.join(root, 'etc/systemd/system', unit), 'utf8');
      const named = [...text.matchAll(/(?<![\w/])\/(?:opt|etc)\/millibox\/[\w./-]*\w/g)].map(([file]) => file);
      expect(named.length).toBeGreaterThan(3);
      expect(named.filter((file) => !existsSync(path.join(root, file)))).toEqual([]);
    }
    expect(existsSync(opt('node_modules/vitest'))).toBe(false);
  });

  test('keeps secrets from other users', () => {
    expect(statSync(path.join(root, 'etc/millibox')).mode & 0o777).toBe(0o700);
    expect(statSync(etc('admin-key')).mode & 0o777).toBe(0o400);
  });

  test(
    'a second time keeps secrets and settings',
    async () => {
      const files = ['node-secret', 'api-keys', 'admin-key', 'gateway.env', 'agent.env'];
      const before = files.map((name) => readFileSync(etc(name), 'utf8'));
      await install();
      expect(files.map((name) => readFileSync(etc(name), 'utf8'))).toEqual(before);
    },
    INSTALL_MS,
  );

  test('gateway and agent start from there, find each other, and accept the key', async () => {
    const children: ChildProcess[] = [];
    /** Resolves with the port that its log names. */
    const start = async (main: string, env: Record<string, string>): Promise<number> => {
      const child = spawn(opt('bin/node'), [opt(main)], {
        env: { PATH: allowedEnvironment()['PATH'], MILLIBOX_NODE_SECRET_FILE: etc('node-secret'), ...env },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      children.push(child);
      for await (const line of createInterface({ input: child.stdout })) {
        const port = /listens.*?:(\d+)|"url":"http:\/\/127\.0\.0\.1:(\d+)"/.exec(line);
        child.stdout.resume();
        if (port !== null && line.includes('listens')) return Number(port[1] ?? port[2]);
      }
      throw new Error(`${main} ended at its start`);
    };
    try {
      const agentPort = await start('dist/agent/main.js', {
        ...parseEnvironmentFile(readFileSync(etc('agent.env'), 'utf8')),
        MILLIBOX_AGENT_LISTEN: '127.0.0.1:0',
        MILLIBOX_DATA_DIR: path.join(root, 'data'),
        MILLIBOX_BOXINIT: opt('bin/boxinit'),
        MILLIBOX_RUNTIME: 'fake',
        MILLIBOX_NODE_NAME: 'here',
      });
      const port = await start('dist/src/gateway/main.js', {
        ...parseEnvironmentFile(readFileSync(etc('gateway.env'), 'utf8')),
        MILLIBOX_LISTEN: '127.0.0.1:0',
        MILLIBOX_NODES: `ws://127.0.0.1:${agentPort}`,
        MILLIBOX_API_KEYS_FILE: etc('api-keys'),
      });
      const url = `http://127.0.0.1:${port}`;
      const authorization = `Bearer ${readFileSync(etc('admin-key'), 'utf8').trim()}`;
      await expect
        .poll(async () => (await fetch(`${url}/readyz`)).status, { timeout: START_MS, interval: 100 })
        .toBe(200);
      const nodes = await (await fetch(`${url}/v1/nodes`, { headers: { authorization } })).json();
      expect(nodes).toMatchObject({ nodes: [{ name: 'here', state: 'ready', runtime: 'fake' }] });
    } finally {
      for (const child of children) {
        const gone = once(child, 'exit');
        if (child.kill('SIGTERM')) await gone;
      }
    }
  });
});
