import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import type { MuxStream, StreamHandler } from '../../../mux/index.ts';
import { ServiceError } from '../../../protocol/errors.ts';
import { Channel } from '../../../protocol/frames.ts';
import { FakeNode } from '../../testing/fake-node.ts';
import { TEST_CONFIG, TestGateway } from '../../testing/harness.ts';

let gateway: TestGateway;
let inside: Server;
let id: string;

beforeEach(async () => {
  inside = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      response.writeHead(request.url === '/teapot' ? 418 : 200, {
        'x-inside': 'yes',
        'content-type': 'application/json',
      });
      const { method, url, headers } = request;
      response.end(JSON.stringify({ method, url, headers, body: Buffer.concat(chunks).toString('base64') }));
    });
  });
  new WebSocketServer({ server: inside }).on('connection', (ws) => ws.on('message', (data) => ws.send(data)));
  inside.listen(0, '127.0.0.1');
  await once(inside, 'listening');
  const node = new FakeNode();
  node.intercept = (stream) => (stream.request['op'] === 'port' ? toServer(stream) : undefined);
  gateway = await TestGateway.start([node]);
  id = await gateway.sandbox();
});
afterEach(async () => {
  await gateway[Symbol.asyncDispose]();
  inside.closeAllConnections();
  inside.close();
});

/** A port stream joined to the server, as boxinit does it. */
function toServer(stream: MuxStream): StreamHandler {
  if (stream.request['port'] === 1) throw new ServiceError('port_refused');
  const socket = connect((inside.address() as AddressInfo).port, '127.0.0.1');
  socket.on('connect', () => stream.accept());
  socket.on('error', () => stream.reset(new ServiceError('port_refused')));
  socket.on('data', (bytes: Buffer) => {
    const drained = stream.write(Channel.BYTES, bytes);
    if (drained !== undefined) {
      socket.pause();
      void drained.then(() => socket.resume());
    }
  });
  socket.on('end', () => stream.end());
  return {
    data: (_channel, bytes) => {
      const { length } = bytes;
      socket.write(Buffer.from(bytes), () => stream.consume(length));
    },
    fin: () => socket.end(),
    closed: () => socket.destroy(),
  };
}

const at = (path: string) => `/v1/sandboxes/${id}/ports/3000${path}`;

test('HTTP reaches the server inside: method, path, query, headers, body and status', async () => {
  const get = await gateway.ask('GET', at('/a/b?c=d&e=%20'));
  expect(get.json).toMatchObject({ method: 'GET', url: '/a/b?c=d&e=%20' });
  expect(get.headers['x-inside']).toBe('yes');
  const body = Buffer.alloc(3_000_000, 7);
  const post = await gateway.ask('POST', at('/p'), {
    raw: body,
    headers: { 'content-type': 'application/json', 'x-mine': '1' },
  });
  expect(post.json).toMatchObject({ method: 'POST', headers: { 'x-mine': '1', host: 'localhost:3000' } });
  expect(Buffer.from(post.json.body, 'base64').equals(body)).toBe(true);
  expect((await gateway.ask('DELETE', at('/teapot'))).status).toBe(418);
  expect((await gateway.ask('GET', at(''))).json.url).toBe('/');
});

test("our key never reaches the server inside; the client's own Authorization for it does", async () => {
  expect((await gateway.ask('GET', at('/'))).json.headers).not.toHaveProperty('authorization');
  const own = await gateway.ask('GET', at('/'), {
    key: null,
    headers: { 'x-millibox-key': 'key-of-the-tests', authorization: 'Bearer theirs' },
  });
  expect(own.json.headers).toMatchObject({ authorization: 'Bearer theirs' });
  expect(own.json.headers).not.toHaveProperty('x-millibox-key');
});

test('neither key nor token reaches the server inside, even where one of them was not needed', async () => {
  const token = gateway.services.ports.tokens.issue({
    tenant: 'default',
    sandbox: id,
    port: 3000,
    expiresAtMs: Date.now() + 60_000,
  });
  const asked = [
    gateway.ask('GET', at(`/?millibox_token=${token}`)),
    gateway.ask('GET', at('/'), { headers: { 'x-millibox-token': token } }),
    gateway.ask('GET', at('/'), { headers: { 'x-millibox-key': 'key-of-the-tests' } }),
    gateway.ask('GET', at('/'), { headers: { cookie: `millibox_token=${token}` } }),
    gateway.ask('GET', at('/'), {
      key: null,
      headers: { cookie: `millibox_token=${token}`, referer: `http://x${at(`/?a=b&millibox_token=${token}`)}` },
    }),
  ];
  for (const { status, bytes } of await Promise.all(asked)) {
    expect(status).toBe(200);
    expect(bytes.toString()).not.toContain('key-of-the-tests');
    expect(bytes.toString()).not.toContain(token);
  }
  const own = { referer: 'http://elsewhere/page', authorization: 'Basic dGhlaXI6b3du' };
  const kept = await gateway.ask('GET', at(`/?millibox_token=${token}`), { key: null, headers: own });
  expect(kept.json.headers).toMatchObject(own);
});

test('uncommon methods reach the server inside', async () => {
  const found = await gateway.ask('PROPFIND', at('/dav'), { raw: '<propfind/>' });
  expect(found.json).toMatchObject({ method: 'PROPFIND', url: '/dav' });
  expect((await gateway.ask('PROPFIND', '/v1/sandboxes')).json.error.code).toBe('not_found');
});

test.each(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'POST', 'PROPFIND'])(
  'the body of a %s reaches the server inside, with or without a length',
  async (method) => {
    const seen: unknown[] = [];
    inside.on('request', (request) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => seen.push([request.method, request.url, body]));
    });
    const outside = connect(Number(new URL(gateway.url).port), '127.0.0.1');
    const head = (path: string): string =>
      `${method} ${at(path)} HTTP/1.1\r\nhost: x\r\nx-millibox-key: key-of-the-tests`;
    outside.write(`${head('/length')}\r\ncontent-length: 5\r\n\r\nhello`);
    outside.write(`${head('/chunks')}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`);
    outside.write(`${head('/none')}\r\nconnection: close\r\n\r\n`);
    outside.resume();
    await once(outside, 'close');
    expect(seen).toEqual([
      [method, '/length', 'hello'],
      [method, '/chunks', 'hello'],
      [method, '/none', ''],
    ]);
  },
);

test.each([
  ['an unrequested upgrade', 'HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n', 'port_refused'],
  ['a status that is none', 'HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nhi', 'port_refused'],
  ['no HTTP', 'rubbish\r\n\r\n', 'port_refused'],
  ['nothing', '', 'port_refused'],
  ['no byte of its content', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n', 'interrupted'],
])('a server inside that answers with %s is reported, and hangs nobody', async (_what, answer, code) => {
  inside.removeAllListeners('connection');
  inside.on('connection', (socket) => socket.once('data', () => socket.end(answer)));
  const { status, json } = await gateway.ask('GET', at('/'));
  expect([status, json.error.code]).toEqual([502, code]);
});

test.each(['/%', '/100%/x?y=%zz', '/%ff/%82%a0.html?%e9', '/a%2Fb/%zz', '/%00', '/%ED%B3%BF'])(
  'a path reaches the server inside as it was sent, whatever its bytes are: %s',
  async (path) => {
    const { url, token } = (await gateway.ask('POST', `/v1/sandboxes/${id}/previews`, { body: { port: 3000 } })).json;
    const headers = { host: new URL(url as string).host, 'x-millibox-token': token as string };
    expect((await gateway.ask('GET', at(path))).json.url).toBe(path);
    expect((await gateway.ask('POST', at(path), { raw: 'body' })).json).toMatchObject({ url: path, method: 'POST' });
    expect((await gateway.ask('GET', path, { key: null, headers })).json.url).toBe(path);
    expect((await gateway.ask('GET', at(path), { key: null })).json.error.code).toBe('unauthenticated');
  },
);

test.each([
  ['nothing', ''],
  ['no HTTP', 'rubbish\r\n\r\n'],
  ['half a head', 'HTTP/1.1 200 OK\r\nContent-Le'],
  ['a status that is none', 'HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nhi'],
])('what a server inside that answers with %s may have done is not offered for a retry', async (_what, answer) => {
  inside.removeAllListeners('connection');
  inside.on('connection', (socket) => socket.once('data', () => socket.end(answer)));
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'PROPPATCH']) {
    const { status, json } = await gateway.ask(method, at('/'));
    expect([status, json.error.code, json.error.retryable]).toEqual([502, 'interrupted', false]);
  }
  for (const method of ['GET', 'OPTIONS']) {
    const { status, json } = await gateway.ask(method, at('/'));
    expect([status, json.error.code, json.error.retryable]).toEqual([502, 'port_refused', true]);
  }
});

test('a body that the server inside does not read does not block the requests after it', async () => {
  inside.removeAllListeners('connection');
  inside.on('connection', (socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.resetAndDestroy());
  });
  const outside = connect(Number(new URL(gateway.url).port), '127.0.0.1');
  const body = Buffer.alloc(3_000_000);
  const head = `host: x\r\nx-millibox-key: key-of-the-tests\r\ncontent-length: ${body.length}`;
  outside.write(`POST ${at('/')} HTTP/1.1\r\n${head}\r\n\r\n`);
  outside.write(body);
  outside.end('GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
  const chunks: Buffer[] = [];
  for await (const chunk of outside) chunks.push(chunk as Buffer);
  expect(Buffer.concat(chunks).toString()).toMatch(/^HTTP\/1\.1 502 [^]*interrupted[^]*HTTP\/1\.1 200 /);
});

test('a WebSocket is forwarded', async () => {
  const ws = new WebSocket(`${gateway.url.replace('http', 'ws')}${at('/socket')}`, {
    headers: { 'x-millibox-key': 'key-of-the-tests' },
  });
  await once(ws, 'open');
  for (const text of ['one', 'two'.repeat(100_000)]) {
    const answer = once(ws, 'message');
    ws.send(text);
    expect(String((await answer)[0]) === text).toBe(true);
  }
  ws.close();
  await once(ws, 'close');
});

test('a WebSocket to a port inside does not delay a shutdown', async () => {
  const ws = new WebSocket(`${gateway.url.replace('http', 'ws')}${at('/socket')}`, {
    headers: { 'x-millibox-key': 'key-of-the-tests' },
  });
  ws.on('error', () => undefined);
  await once(ws, 'open');
  const closed = once(ws, 'close');
  await gateway[Symbol.asyncDispose]();
  await closed;
});

test('a WebSocket to a port inside is closed when the key that opened it is revoked, and not when another is', async () => {
  const expiresAtMs = Date.now() + 60_000;
  const token = gateway.services.ports.tokens.issue({ tenant: 'default', sandbox: id, port: 3000, expiresAtMs });
  const open = async (headers: Record<string, string>): Promise<WebSocket> => {
    const ws = new WebSocket(`${gateway.url.replace('http', 'ws')}${at('/socket')}`, { headers });
    ws.on('error', () => undefined);
    await once(ws, 'open');
    return ws;
  };
  const key = 'key-of-the-tests';
  const byKey = await Promise.all([{ 'x-millibox-key': key }, { authorization: `Bearer ${key}` }].map(open));
  const byToken = await open({ 'x-millibox-token': token });
  const { keys } = TEST_CONFIG;
  gateway.services.replaceTenants({ keys: keys.filter(({ tenant }) => tenant === 'default') });
  for (const ws of [...byKey, byToken]) {
    ws.send('still there');
    expect(String((await once(ws, 'message'))[0])).toBe('still there');
  }
  gateway.services.replaceTenants({ keys: keys.filter(({ tenant }) => tenant === 'other') });
  for (const ws of byKey) if (ws.readyState !== WebSocket.CLOSED) await once(ws, 'close');
  byToken.send('token');
  expect(String((await once(byToken, 'message'))[0])).toBe('token');
  byToken.close();
});

test('an upgrade refused by the server inside ends the connection: bytes after it go to nobody', async () => {
  inside.removeAllListeners('upgrade');
  const heard: string[] = [];
  inside.on('upgrade', (_request, socket: Duplex) => {
    socket.on('data', (bytes: Buffer) => heard.push(bytes.toString()));
    socket.write('HTTP/1.1 403 Forbidden\r\nSet-Cookie: a=b; Domain=test\r\nContent-Length: 2\r\n\r\nno');
  });
  const outside = connect(Number(new URL(gateway.url).port), '127.0.0.1');
  outside.on('error', () => undefined);
  const upgrade = 'connection: upgrade\r\nupgrade: websocket\r\nx-millibox-key: key-of-the-tests';
  outside.write(`GET ${at('/')} HTTP/1.1\r\nhost: x\r\n${upgrade}\r\n\r\n`);
  const chunks: Buffer[] = [];
  outside.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    outside.write('GET /next HTTP/1.1\r\nhost: x\r\nauthorization: Bearer of-somebody-else\r\n\r\n');
  });
  await once(outside, 'close');
  const answer = Buffer.concat(chunks).toString();
  expect(answer).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n[^]*connection: close\r\n\r\nno$/);
  expect(answer).toContain('set-cookie: a=b\r\n');
  expect(heard).toEqual([]);
});

test('a port that speaks a protocol other than HTTP is reported as such', async () => {
  inside.removeAllListeners('connection');
  inside.on('connection', (socket) => socket.once('data', () => socket.end('rubbish\r\n\r\n')));
  const ws = new WebSocket(`${gateway.url.replace('http', 'ws')}${at('/socket')}`, {
    headers: { 'x-millibox-key': 'key-of-the-tests' },
  });
  const [, response] = (await once(ws, 'unexpected-response')) as [unknown, { statusCode: number }];
  expect(response.statusCode).toBe(502);
});

test('an invalid cookie does not invalidate a key, nor a valid cookie', async () => {
  const stale = { cookie: 'millibox_token=planted; mine=1' };
  expect((await gateway.ask('GET', at('/'), { headers: stale })).json.headers).toMatchObject({ cookie: 'mine=1' });
  expect((await gateway.ask('GET', at('/'), { key: null, headers: stale })).json.error.code).toBe('unauthenticated');
  const expiresAtMs = Date.now() + 60_000;
  const token = gateway.services.ports.tokens.issue({ tenant: 'default', sandbox: id, port: 3000, expiresAtMs });
  const both = { cookie: `${stale.cookie}; millibox_token=${token}` };
  expect((await gateway.ask('GET', at('/'), { key: null, headers: both })).status).toBe(200);
});

test('a token opens one port for a while, by path and by host name, and is kept as a cookie', async () => {
  const made = await gateway.ask('POST', `/v1/sandboxes/${id}/previews`, { body: { port: 3000 } });
  expect(made.status).toBe(201);
  const { url, token, expiresAt } = made.json;
  expect(new URL(url).host).toMatch(new RegExp(`^3000-${id}\\.preview\\.test:`));
  expect(Date.parse(expiresAt)).toBeGreaterThan(Date.now());
  const host = { host: new URL(url).host };
  const first = await gateway.ask('GET', `/a?b=%2F&millibox_token=${token}&c`, { key: null, headers: host });
  expect(first.json).toMatchObject({ url: '/a?b=%2F&c' });
  const cookie = String(first.headers['set-cookie']).split(';')[0] ?? '';
  const next = await gateway.ask('GET', '/b', { key: null, headers: { ...host, cookie: `mine=1; ${cookie}` } });
  expect(next.json).toMatchObject({ url: '/b', headers: { cookie: 'mine=1' } });
  const byPath = await gateway.ask('GET', at('/c'), { key: null, headers: { 'x-millibox-token': token } });
  expect(byPath.json.headers).not.toHaveProperty('x-millibox-token');
  const refused = async (path: string, bad: string) =>
    (await gateway.ask('GET', path, { key: null, headers: { 'x-millibox-token': bad } })).json.error?.code;
  expect(await refused(`/v1/sandboxes/${id}/ports/3001/`, token)).toBe('unauthenticated');
  expect(await refused(at('/'), `${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}`)).toBe('unauthenticated');
  expect(await refused(at('/'), 'rubbish')).toBe('unauthenticated');
  const over = gateway.services.ports.tokens.issue({
    tenant: 'default',
    sandbox: id,
    port: 3000,
    expiresAtMs: Date.now() - 1,
  });
  expect(await refused(at('/'), over)).toBe('unauthenticated');
  expect((await gateway.ask('GET', '/healthz', { key: null, headers: { host: `0-${id}.preview.test` } })).json).toEqual(
    { ok: true },
  );
});

test('a target in absolute form is used by its path, and its host replaces the Host header', async () => {
  const { url, token } = (await gateway.ask('POST', `/v1/sandboxes/${id}/previews`, { body: { port: 3000 } })).json;
  const { host, hostname } = new URL(url as string);
  const get = async (target: string): Promise<string> => {
    const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
    socket.write(
      `GET ${target} HTTP/1.1\r\nHost: elsewhere.test\r\nConnection: close\r\nX-Millibox-Token: ${token}\r\n\r\n`,
    );
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    return text;
  };
  expect(await get('http://gateway.test/healthz')).toContain('{"ok":true}');
  expect(await get(`http://gateway.test${at('/c?d')}`)).toContain('"url":"/c?d"');
  expect(await get(`HTTP://${host}/c?d`)).toContain('"url":"/c?d"');
  expect(await get(`http://${hostname}.:80/c`)).toContain('"url":"/c"');
  expect(await get(`http://${host}`)).toContain('"url":"/"');
});

test('failures are typed: no key, no sandbox, no port, nothing listening', async () => {
  const code = async (path: string, key?: string | null) =>
    (await gateway.ask('GET', path, key === undefined ? {} : { key })).json.error.code as string;
  expect(await code(at('/'), null)).toBe('unauthenticated');
  expect(await code(`/v1/sandboxes/sbx-none/ports/3000/`)).toBe('sandbox_not_found');
  expect(await code(`/v1/sandboxes/${id}/ports/0/`)).toBe('invalid_request');
  expect(await code(`/v1/sandboxes/${id}/ports/99999/`)).toBe('invalid_request');
  expect(await code(`/v1/sandboxes/${id}/ports/1/`)).toBe('port_refused');
  const ws = new WebSocket(`${gateway.url.replace('http', 'ws')}${at('/socket')}`);
  const [, response] = (await once(ws, 'unexpected-response')) as [unknown, { statusCode: number }];
  expect(response.statusCode).toBe(401);
});

test('a sandbox that has ended gets no address any more, as it gets no other call', async () => {
  await gateway.ask('DELETE', `/v1/sandboxes/${id}`);
  const { json } = await gateway.ask('POST', `/v1/sandboxes/${id}/previews`, { body: { port: 80 } });
  expect(json.error).toMatchObject({ code: 'sandbox_ended', details: { status: 'TERMINATED', reason: 'deleted' } });
});
