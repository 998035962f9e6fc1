import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, onTestFinished, test, vi } from 'vitest';
import { ServiceError } from '../protocol/errors.ts';
import { Millibox } from './client.ts';
import { doubtAddress, loadConfig } from './config.ts';

afterEach(() => void vi.unstubAllEnvs());

test('a key read from a file or a shell may end with a line break', () => {
  expect(loadConfig({ apiKey: ' mbx_key\r\n' }).apiKey).toBe('mbx_key');
});

test('a key that no header can carry is reported as such, not as a service that is away', () => {
  for (const apiKey of ['a\nb', 'a b', 'a\u20acb']) expect(() => loadConfig({ apiKey })).toThrow(/^the API key/);
});

test('an address may end with the API version, which each call also has, and with slashes', () => {
  for (const end of ['', '/', '/v1', '/v1/'])
    expect(loadConfig({ url: `http://a:1${end}` }).urls).toEqual(['http://a:1']);
  expect(loadConfig({ url: 'https://a/below/v1' }).urls).toEqual(['https://a/below']);
});

test('invalid parts of an address are refused, not dropped, and a password is not repeated', () => {
  expect(() => loadConfig({ url: 'http://a:1/?key=1' })).toThrow(/cannot contain \? or #/);
  expect(() => loadConfig({ url: 'http://a:1/#x' })).toThrow(/cannot contain \? or #/);
  expect(() => loadConfig({ url: 'http://me:pa55@a:1' })).toThrow(/^(?!.*pa55).*MILLIBOX_API_KEY/);
});

test('an empty variable counts as unset', () => {
  vi.stubEnv('MILLIBOX_URL', '');
  vi.stubEnv('MILLIBOX_API_KEY', '');
  expect(loadConfig({})).toMatchObject({ urls: ['http://127.0.0.1:8700'], apiKey: undefined });
  vi.stubEnv('MILLIBOX_URL', 'http://a:1');
  vi.stubEnv('MILLIBOX_API_KEY', 'key');
  expect(loadConfig({})).toMatchObject({ urls: ['http://a:1'], apiKey: 'key' });
  expect(loadConfig({ url: 'http://b:2', apiKey: 'other' })).toMatchObject({ urls: ['http://b:2'], apiKey: 'other' });
});

test('a foreign 404 below a path is answered by asking whether the path is right', () => {
  const refusal = new ServiceError('not_found', 'the server answered 404');
  expect(doubtAddress(refusal, 'http://a:1/api').message).toBe(
    'the server answered 404. The address of the gateway has a path, /api: is it right?',
  );
  expect(doubtAddress(refusal, 'http://a:1')).toBe(refusal);
});

test('a 404 of our own gateway below a path it does not know asks the same', async () => {
  const server = createServer((request, response) => {
    const error = { code: 'not_found', message: `There is no ${request.url}.`, retryable: false };
    response.writeHead(404, { 'content-type': 'application/json' }).end(JSON.stringify({ error }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = new Millibox({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/api` });
  onTestFinished(async () => {
    await client.close();
    server.close();
  });
  const expected = {
    code: 'not_found',
    message: expect.stringMatching(/^There is no \/api\/v1\/.*a path, \/api: is it right\?$/) as string,
  };
  await expect(client.sandboxes.get('s')).rejects.toMatchObject(expected);
  await expect(client.sandboxes.at('s').exec('true', { stdin: true }).result).rejects.toMatchObject(expected);
});
