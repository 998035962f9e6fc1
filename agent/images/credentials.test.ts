import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { faultOfCredentials } from './credentials.ts';

const SECRET = 'hunter2-and-more';
const AUTH = Buffer.from(`somebody:${SECRET}`).toString('base64');
let directory: string;
let file: string;
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'mbx-credentials-'));
  file = path.join(directory, 'config.json');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test.each([
  ['good', JSON.stringify({ auths: { 'r.test': { auth: AUTH } }, credsStore: 'x' })],
  ['without any', '{}'],
  ['of a helper', JSON.stringify({ auths: { 'r.test': {} }, credHelpers: { 'r.test': 'x' } })],
])('a file that is %s has no fault', async (_what, text) => {
  writeFileSync(file, text);
  expect(await faultOfCredentials(file, 'r.test')).toBeUndefined();
});

test.each([
  ['is cut short', `{"auths": {"r.test": {"auth": "${AUTH}"`, /^it is not valid JSON/],
  ['has a slip in it', `{"auths":\n{"r.test": ${AUTH}}}`, /^it is not valid JSON$/],
  ['is the password alone', SECRET, /^it is not valid JSON/],
  ['is empty', '\n', /^it is empty$/],
  ['is a list', `["${AUTH}"]`, /the whole has the wrong form/],
  ['has a text for auths', `{"auths":"${AUTH}"}`, /auths has the wrong form/],
  ['has a text for a registry', `{"auths":{"r.test":"${AUTH}"}}`, /auths\.r\.test has the wrong form/],
  ['has a password in the clear', `{"auths":{"r.test":{"auth":"somebody:${SECRET}"}}}`, /"auth" of r\.test is not/],
  ['has a password with no name', `{"auths":{"r.test":{"auth":"${btoa(SECRET)}"}}}`, /"auth" of r\.test is not/],
])('the error for a file that %s names the fault and no secret', async (_what, text, told) => {
  writeFileSync(file, text);
  const fault = await faultOfCredentials(file, 'r.test');
  expect(fault).toMatch(told);
  for (const secret of [SECRET, AUTH, AUTH.slice(0, 8), SECRET.slice(0, 8)]) expect(fault).not.toContain(secret);
});

test('only the entry for the requested registry counts, however its key is written', async () => {
  const slip = { auth: 'no pair' };
  const faultFor = async (key: string, registry: string): Promise<string | undefined> => {
    writeFileSync(file, JSON.stringify({ auths: { [key]: slip, 'good.test': { auth: AUTH } } }));
    return await faultOfCredentials(file, registry);
  };
  expect(await faultFor('other.test:5000', 'r.test')).toBeUndefined();
  expect(await faultFor('r.test', 'r.test:5000')).toBeUndefined();
  expect(await faultFor('r.test/some/path', 'r.test')).toContain('r.test/some/path');
  expect(await faultFor('https://r.test:5000/v2/', 'r.test:5000')).toContain('r.test:5000');
  expect(await faultFor('https://index.docker.io/v1/', 'docker.io')).toContain('index.docker.io');
});

test('an unreadable file is an error', async () => {
  expect(await faultOfCredentials(file, 'r.test')).toBe('there is no such file');
  expect(await faultOfCredentials(directory, 'r.test')).toBe('it is a directory');
});
