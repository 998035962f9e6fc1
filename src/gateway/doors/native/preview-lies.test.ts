/** Servers in sandboxes that violate HTTP: only their own client is affected, and it can tell. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { MuxStream, StreamHandler } from '../../../mux/index.ts';
import { Channel } from '../../../protocol/frames.ts';
import { FakeNode } from '../../testing/fake-node.ts';
import { TestGateway } from '../../testing/harness.ts';

let gateway: TestGateway;
let node: FakeNode;
let path: string;
/** The server's answer to any request, before it closes. */
let response: string;
/** The port of a server that never answers. */
const SILENT = 2;

beforeEach(async () => {
  node = new FakeNode();
  node.intercept = (stream) => (stream.request['op'] === 'port' ? answering(stream) : undefined);
  gateway = await TestGateway.start([node]);
  path = `/v1/sandboxes/${await gateway.sandbox()}/ports`;
});
afterEach(() => gateway[Symbol.asyncDispose]());

function answering(stream: MuxStream): StreamHandler {
  queueMicrotask(() => stream.accept());
  let answered = stream.request['port'] === SILENT;
  return {
    data: (_channel, bytes) => {
      stream.consume(bytes.length);
      if (answered) return;
      answered = true;
      void stream.write(Channel.BYTES, Buffer.from(response, 'latin1'));
      stream.end();
    },
    fin: () => undefined,
  };
}

/** Everything received for these requests, sent on one connection, until it is closed. */
async function say(...requests: string[]): Promise<string> {
  const { port, hostname } = new URL(gateway.url);
  const socket = connect(Number(port), hostname);
  let answer = '';
  socket.on('data', (bytes) => (answer += bytes.toString('latin1')));
  const key = 'Host: x\r\nAuthorization: Bearer key-of-the-tests';
  socket.write(requests.map((lines) => `${lines}\r\n${key}\r\n\r\n`).join(''));
  await once(socket, 'close');
  return answer;
}

const get = (): string => `GET ${path}/80/ HTTP/1.1`;
const LAST = 'GET /healthz HTTP/1.1\r\nConnection: close';
const UPGRADE = '\r\nConnection: Upgrade\r\nUpgrade: websocket';

describe.each([
  ['a call', ''],
  ['an upgrade', UPGRADE],
])('to %s', (_what, more) => {
  test.each([
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nok'],
    [
      'a length and chunks',
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    ],
    ['a line break in a header', 'HTTP/1.1 200 OK\r\nX-A: a\rSet-Cookie: evil=1\r\n\r\n'],
    ['a status below all', 'HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['a status above all', 'HTTP/1.1 600 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['a head without end', `HTTP/1.1 200 OK\r\n${'X: y\r\n'.repeat(5_000)}`],
    ['no HTTP', 'SSH-2.0-OpenSSH\r\n'],
    ['nothing', ''],
  ])('an answer with %s is invalid', async (_lie, answer) => {
    response = answer;
    const [head = '', body = ''] = (await say(`${get()}${more || '\r\nConnection: close'}`)).split('\r\n\r\n');
    expect(head).toMatch(/^HTTP\/1.1 502 /);
    expect(JSON.parse(body)).toMatchObject({ error: { code: 'port_refused' } });
  });
});

test('an upgrade that nobody asked for is invalid', async () => {
  response = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nraw';
  expect((await gateway.ask('GET', `${path}/80/`)).json.error.code).toBe('port_refused');
});

test('bytes that a server sends after its answer reach nobody, and the connection stays usable', async () => {
  response = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nevil!';
  const answer = await say(get(), LAST);
  expect(answer).not.toContain('evil');
  expect(answer.match(/HTTP\/1.1 200 /g)).toHaveLength(2);
  expect(answer).toContain('{"ok":true}');
});

test.each([204, 304])('the body of a %i is dropped, and the connection stays usable', async (status) => {
  response = `HTTP/1.1 ${status} OK\r\nContent-Length: 4\r\n\r\nbody`;
  const answer = await say(get(), LAST);
  expect(answer).not.toContain('body');
  expect(answer).toContain('{"ok":true}');
});

test('hop-by-hop headers are not forwarded', async () => {
  response = 'HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Kept: 2\r\n\r\nok';
  const { headers, bytes } = await gateway.ask('GET', `${path}/80/`);
  expect(headers).toMatchObject({ 'x-kept': '2' });
  expect(headers).not.toHaveProperty('x-hop');
  expect(headers['keep-alive']).not.toContain('timeout=5,');
  expect(bytes.toString()).toBe('ok');
});

test.each([
  ['its chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok'],
  ['its length', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok'],
])('an answer that ends before %s say is incomplete', async (_what, answer) => {
  response = answer;
  await expect(gateway.ask('GET', `${path}/80/`)).rejects.toThrow();
});

test('informational answers before the final one are dropped', async () => {
  response = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
  expect((await gateway.ask('GET', `${path}/80/`)).bytes.toString()).toBe('ok');
});

test.each([
  ['before the server answers', `/${SILENT}`],
  ['before there is a node', '/80'],
])('an upgrade whose client has gone %s is abandoned', async (_when, port) => {
  if (port === '/80') {
    const locate = Promise.withResolvers<never>();
    vi.spyOn(gateway.services.sandboxes, 'locate').mockImplementation((_tenant, _id, signal) => {
      signal?.addEventListener('abort', () => locate.reject(signal.reason as Error));
      return locate.promise;
    });
  }
  const connects = vi.spyOn(gateway.services.ports, 'connect');
  const url = new URL(gateway.url);
  const socket = connect(Number(url.port), url.hostname);
  socket.write(`GET ${path}${port}/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key-of-the-tests${UPGRADE}\r\n\r\n`);
  await gateway.until('it is asked for', () => connects.mock.calls.length === 1);
  const [asked] = connects.mock.results;
  if (port !== '/80') {
    const stream = await (asked?.value as ReturnType<typeof gateway.services.ports.connect>);
    socket.destroy();
    return await gateway.until('the connection inside is closed', () => stream.destroyed);
  }
  socket.destroy();
  await expect(asked?.value).rejects.toMatchObject({ code: 'cancelled' });
});
