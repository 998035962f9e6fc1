/** The compose file, and how its images are built. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { load as loadYaml } from 'js-yaml';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { knownTo, load, type Program } from './settings.ts';
import { ROOT } from './tools.ts';

interface Service {
  build?: { context: string; dockerfile: string; target: string };
  environment?: Record<string, string>;
  secrets?: string[];
  networks: string[];
  ports?: string[];
  volumes?: (string | { type: string; source: string; target: string })[];
  privileged?: boolean;
  pid?: string;
  cgroup?: string;
  depends_on?: string[];
}
interface Compose {
  services: Record<string, Service>;
  networks: Record<string, { internal?: boolean }>;
  secrets: Record<string, { file: string }>;
  volumes: Record<string, unknown>;
}

const file = path.join(ROOT, 'deploy/compose.yaml');
const compose = loadYaml(readFileSync(file, 'utf8')) as Compose;
const dockerfile = readFileSync(path.join(ROOT, 'deploy/docker/Dockerfile'), 'utf8');

const service = (name: string): Service => {
  const found = compose.services[name];
  if (found === undefined) throw new Error(`no service ${name}`);
  return found;
};

describe('compose', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(path.join(tmpdir(), 'mb-compose-'));
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  test.each<Program>(['gateway', 'agent'])(
    'tells the %s nothing but what it knows, and it starts with that',
    (name) => {
      const given = service(name).environment ?? {};
      const env = Object.fromEntries(
        Object.entries(given).map(([key, value]) => [key, value.replaceAll(/\$\{\w+:-([^}]*)\}/g, '$1')]),
      );
      expect(Object.keys(env).filter((each) => !knownTo(name).has(each))).toEqual([]);
      expect(() => load(name, env, dir)).not.toThrow();
    },
  );

  test('refers to nothing that does not exist', () => {
    for (const { networks, secrets = [], depends_on = [], volumes = [] } of Object.values(compose.services)) {
      expect(Object.keys(compose.networks)).toEqual(expect.arrayContaining(networks));
      expect(Object.keys(compose.secrets)).toEqual(expect.arrayContaining(secrets));
      expect(Object.keys(compose.services)).toEqual(expect.arrayContaining(depends_on));
      const named = volumes.filter((each) => typeof each === 'string').map((each) => each.split(':')[0]);
      expect(Object.keys(compose.volumes)).toEqual(expect.arrayContaining(named));
    }
  });

  test('opens nothing to other machines', () => {
    const ports = Object.values(compose.services).flatMap((each) => each.ports ?? []);
    expect(ports.filter((port) => !port.startsWith('127.0.0.1:'))).toEqual([]);
  });

  test('leaves sandboxes to the machine', () => {
    const agent = service('agent');
    expect(agent).toMatchObject({ privileged: true, pid: 'host', cgroup: 'host' });
    expect(agent.environment).toMatchObject({ MILLIBOX_ON_STOP: 'keep', MILLIBOX_SANDBOX_UPLINK: 'host' });
    for (const volume of agent.volumes ?? []) expect(volume).toMatchObject({ type: 'bind' });
  });

  test('builds images that the Dockerfile defines', () => {
    for (const { build } of Object.values(compose.services)) {
      if (build === undefined) continue;
      expect(path.resolve(path.dirname(file), build.context)).toBe(ROOT);
      expect(path.join(ROOT, build.dockerfile)).toBe(path.join(ROOT, 'deploy/docker/Dockerfile'));
      expect(dockerfile).toMatch(new RegExp(`^FROM .* AS ${build.target}$`, 'm'));
    }
  });
});

test("the agent's image has all packages that a server gets for the oci runtime", () => {
  const list = /oci_packages\(\).*?<<LIST\n(.*?)\nLIST/s.exec(
    readFileSync(path.join(ROOT, 'deploy/lib/packages.sh'), 'utf8'),
  )?.[1];
  const packages = (list ?? '').split('\n').map((line) => line.split(' ')[1] ?? '');
  const installed = /AS agent\n.*?apt-get install([^&]*)&&/s.exec(dockerfile)?.[1]?.split(/[\s\\]+/) ?? [];
  expect(packages.length).toBeGreaterThan(5);
  expect(installed).toEqual(expect.arrayContaining(packages));
});
