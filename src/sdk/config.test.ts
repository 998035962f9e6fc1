import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { Millibox } from './client.ts';
import { loadConfig } from './config.ts';

test('a key may be what a file or a shell gave, with its line end', () => {
  expect(loadConfig({ apiKey: ' mbx_key\r\n' }).apiKey).toBe('mbx_key');
});

test('a key that no header can carry is named as such, and not taken for a service that is away', () => {
  for (const apiKey of ['a\nb', 'a b', 'a\u20acb']) expect(() => loadConfig({ apiKey })).toThrow(/^the API key/);
});

test('an address may end in the version of the API, which each call has too, and in slashes', () => {
  for (const end of ['', '/', '/v1', '/v1/'])
    expect(loadConfig({ url: `http://a:1${end}` }).urls).toEqual(['http://a:1']);
  expect(loadConfig({ url: 'https://a/below/v1' }).urls).toEqual(['https://a/below']);
});

test('what an address cannot have is refused and not left out, and a password is not repeated', () => {
  expect(() => loadConfig({ url: 'http://a:1/?key=1' })).toThrow(/ends before \? and #/);
  expect(() => loadConfig({ url: 'http://a:1/#x' })).toThrow(/ends before \? and #/);
  expect(() => loadConfig({ url: 'http://me:pa55@a:1' })).toThrow(/^(?!.*pa55).*MILLIBOX_API_KEY/);
});

test('a gateway below a path that it does not know says that the path may be wrong', async () => {
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
  const said = {
    code: 'not_found',
    message: expect.stringMatching(/^There is no \/api\/v1\/.*a path, \/api: is it right\?$/) as string,
  };
  await expect(client.sandboxes.get('s')).rejects.toMatchObject(said);
  await expect(client.sandboxes.at('s').exec('true', { stdin: true }).result).rejects.toMatchObject(said);
});
