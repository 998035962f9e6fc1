import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ConfigError, loadConfig } from '../config.ts';
import { NO_BOUNDS, parseTenants, readTenantsFile } from './file.ts';
import { Tenants } from './tenants.ts';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

function problem(json: unknown): string {
  try {
    parseTenants(json);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('accepted');
}

test('a listed tenant overrides the defaults; null lifts a limit; tenants not listed get the defaults', () => {
  const tenants = new Tenants(
    parseTenants({
      defaults: { sandboxes: 10, execs: 5 },
      tenants: { red: { sandboxes: null, weight: 4 }, blue: { cpus: 2.5 } },
    }),
  );
  expect(tenants.of('red')).toEqual({ ...NO_BOUNDS, execs: 5, weight: 4 });
  expect(tenants.of('blue')).toEqual({ ...NO_BOUNDS, sandboxes: 10, execs: 5, cpus: 2.5 });
  expect(tenants.of('toString')).toEqual({ ...NO_BOUNDS, sandboxes: 10, execs: 5 });
  expect(new Tenants().of('anybody')).toEqual(NO_BOUNDS);
  tenants.replace(parseTenants({}));
  expect(tenants.of('red')).toEqual(NO_BOUNDS);
});

test.each([
  [{ tenant: {} }, 'Unrecognized key: "tenant"'],
  [{ tenants: { red: { sandbox: 5 } } }, 'tenants.red: Unrecognized key: "sandbox"'],
  [{ defaults: { weigth: 1 } }, 'defaults: Unrecognized key: "weigth"'],
  [{ tenants: { red: { sandboxes: -1 } } }, 'tenants.red.sandboxes'],
  [{ tenants: { red: { sandboxes: 1.5 } } }, 'tenants.red.sandboxes'],
  [{ tenants: { red: { createsPerSecond: 0 } } }, 'tenants.red.createsPerSecond'],
  [{ tenants: { red: { weight: 0 } } }, 'tenants.red.weight'],
  [{ tenants: { 'no spaces': {} } }, 'not the name of a tenant'],
  [{ tenants: { red: { keys: [{ sha256: sha256('k') }, { sha256: sha256('k') }] } } }, 'twice'],
  [[], 'expected object'],
])('%j is refused with a message that names its place', (json, said) => {
  expect(problem(json)).toContain(said);
});

test('a plain key in place of a hash is not quoted', () => {
  const message = problem({ tenants: { red: { keys: [{ sha256: 'my-plain-key' }] } } });
  expect(message).toContain('tenants.red.keys.0.sha256: not a SHA-256');
  expect(message).not.toContain('my-plain-key');
});

test('keys and rules of the file are part of the configuration, and its faults are configuration errors', () => {
  const dir = mkdtempSync(join(tmpdir(), 'millibox-tenants-'));
  try {
    const path = join(dir, 'tenants.json');
    const env = { MILLIBOX_NODE_SECRET: 'sixteen characters or more', MILLIBOX_TENANTS_FILE: path };
    writeFileSync(
      path,
      JSON.stringify({ tenants: { red: { execs: 3, keys: [{ sha256: sha256('k'), comment: 'ci' }] } } }),
    );
    const config = loadConfig(env);
    expect(config.keys).toEqual([{ tenant: 'red', admin: false, sha256: Buffer.from(sha256('k'), 'hex') }]);
    expect(new Tenants(config.tenants).of('red').execs).toBe(3);
    writeFileSync(path, '{ "tenants": my-plain-key }');
    expect(() => loadConfig(env)).toThrow(ConfigError);
    expect(() => readTenantsFile(path)).toThrow(/^the file is not JSON$/);
    expect(() => loadConfig({ ...env, MILLIBOX_TENANTS_FILE: join(dir, 'none') })).toThrow('MILLIBOX_TENANTS_FILE');
  } finally {
    rmSync(dir, { recursive: true });
  }
});
