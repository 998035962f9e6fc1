import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { keepSecret } from './secrets.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'millibox-secrets-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

test('a secret is generated once, kept, and readable only by its owner', () => {
  const path = join(dir, 'below', 'key');
  const first = keepSecret(path, 'mb-');
  expect(first).toMatch(/^mb-[\w-]{43}$/);
  expect(keepSecret(path, 'mb-')).toBe(first);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(join(dir, 'below'))).toEqual(['key']);
});

test('an empty secret file is an error, never an empty key', () => {
  const path = join(dir, 'key');
  writeFileSync(path, '\n');
  expect(() => keepSecret(path, '')).toThrow(/no usable secret/);
});
