import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NAMESPACE } from '../doors/prime/context.ts';
import { createPrimeDoor } from '../doors/prime/door.ts';
import { FakeNode } from '../testing/fake-node.ts';
import { TestGateway } from '../testing/harness.ts';

let gateway: TestGateway;
let id: string;
let token: string;
beforeAll(async () => {
  gateway = await TestGateway.start([new FakeNode()], {}, [createPrimeDoor()]);
  id = await gateway.sandbox();
  token = (await gateway.ask('POST', `/api/v1/sandbox/${id}/auth`)).json.token;
});
afterAll(() => gateway[Symbol.asyncDispose]());

/** Everything that is answered to these lines, on a separate connection. */
async function say(...lines: string[]): Promise<string> {
  const { port, hostname } = new URL(gateway.url);
  const socket = connect(Number(port), hostname);
  let answer = '';
  socket.on('data', (bytes) => (answer += bytes.toString()));
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  await once(socket, 'close');
  return answer;
}

const file = (): string => `/v1/sandboxes/${id}/files?path=/kept`;

describe('an encoded body is refused, since it would be taken for plain bytes', () => {
  test.each(['gzip', 'br, gzip'])('by content-encoding %s', async (coding) => {
    const headers = { 'content-encoding': coding };
    const written = await gateway.ask('PUT', file(), { raw: 'x', headers });
    expect([written.status, written.json.error.code]).toEqual([400, 'invalid_request']);
    const run = await gateway.ask('POST', `/v1/sandboxes/${id}/exec`, { body: { command: '{}' }, headers });
    expect(run.json.error.message).toContain('Content-Encoding');
    const control = await gateway.ask('POST', '/api/v1/sandbox', { body: {}, headers });
    expect(control.json.detail).toContain('Content-Encoding');
    const data = await gateway.ask('POST', `/prime/${NAMESPACE}/${id}/exec`, { body: {}, headers, key: token });
    expect(data.json.message).toContain('Content-Encoding');
  });

  test('by transfer-encoding', async () => {
    const key = 'Authorization: Bearer key-of-the-tests';
    const codings = ['Transfer-Encoding: gzip, chunked', 'Connection: close'];
    const answer = await say(`PUT ${file()} HTTP/1.1`, 'Host: x', key, ...codings, '', '0');
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    expect(answer).toContain('Content-Encoding');
  });

  test('and an explicit identity encoding is accepted', async () => {
    const headers = { 'content-encoding': 'Identity' };
    expect((await gateway.ask('PUT', file(), { raw: 'x', headers })).status).toBe(200);
  });
});

describe('a condition that nothing implements is refused before anything is done', () => {
  test.each([
    ['PUT', 'if-match', '"1"'],
    ['PUT', 'if-none-match', '*'],
    ['DELETE', 'if-unmodified-since', 'Tue, 15 Nov 1994 12:45:26 GMT'],
    ['GET', 'if-match', '"1"'],
    ['HEAD', 'if-match', '"1"'],
  ])('%s %s', async (method, name, value) => {
    await gateway.ask('PUT', file(), { raw: 'kept' });
    const more = method === 'PUT' ? { raw: 'overwritten' } : {};
    expect((await gateway.ask(method, file(), { ...more, headers: { [name]: value } })).status).toBe(400);
    expect((await gateway.ask('GET', file())).bytes.toString()).toBe('kept');
  });

  test('but a cache that revalidates its copy gets a fresh one', async () => {
    await gateway.ask('PUT', file(), { raw: 'kept' });
    for (const headers of [{ 'if-none-match': '"1"' }, { 'if-modified-since': 'Tue, 15 Nov 1994 12:45:26 GMT' }]) {
      expect((await gateway.ask('GET', file(), { headers })).bytes.toString()).toBe('kept');
    }
  });
});

test.each([
  ['of a call', []],
  ['of an upgrade', ['Upgrade: websocket']],
])('of two Host headers %s neither is believed', async (_what, upgrade) => {
  const answer = await say(
    'GET /v1/tenant HTTP/1.1',
    'Host: a.test',
    'hOST: b.test',
    `Connection: ${upgrade.length === 0 ? 'close' : 'Upgrade'}`,
    ...upgrade,
  );
  expect(answer).toMatch(/^HTTP\/1.1 400 /);
  expect(answer).toContain('more than one Host');
});

test('an unknown expectation is ignored', async () => {
  const answer = await say('GET /healthz HTTP/1.1', 'Host: x', 'Expect: a-miracle', 'Connection: close');
  expect(answer).toMatch(/^HTTP\/1.1 200 /);
});

test('a client is asked to continue before its answer, never within it, even behind an unanswered request', async () => {
  // Refused before its body is there, and so answered in two parts.
  const refused = [`PUT ${file()} HTTP/1.1`, 'Host: x', 'Content-Length: 1'];
  const asking = ['Expect: 100-continue', 'Connection: close', '', 'a'];
  const answer = await say([...refused, '', `a${refused[0]}`].join('\r\n'), ...refused.slice(1), ...asking);
  const one = 'HTTP/1\\.1 401 (?:.+\\r\\n)+\\r\\n\\{"error":\\{[^{}]*\\}\\}';
  expect(answer).toMatch(new RegExp(`^${one}(?:HTTP/1\\.1 100 Continue\\r\\n\\r\\n)?${one}$`));
});

test('a client that waits to be asked for its body is asked', async () => {
  const { port, hostname } = new URL(gateway.url);
  const socket = connect(Number(port), hostname);
  socket.write(
    `PUT ${file()} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key-of-the-tests\r\n` +
      'Content-Length: 5\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n',
  );
  const [asked] = (await once(socket, 'data')) as [Buffer];
  expect(asked.toString()).toBe('HTTP/1.1 100 Continue\r\n\r\n');
  socket.write('asked');
  const [answer] = (await once(socket, 'data')) as [Buffer];
  expect(answer.toString()).toMatch(/^HTTP\/1\.1 200 /);
  socket.destroy();
  expect((await gateway.ask('GET', file())).bytes.toString()).toBe('asked');
});
