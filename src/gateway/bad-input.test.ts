/** Whatever is sent, the answer is a typed error in one form, and the gateway keeps running. */
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ERRORS, isErrorCode } from '../protocol/errors.ts';
import { KEY, OTHER_KEY, TestGateway, type Answer } from './testing/harness.ts';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await TestGateway.start();
});
afterAll(() => gateway[Symbol.asyncDispose]());

function expectError(answer: Answer, code: keyof typeof ERRORS): void {
  expect(answer.json?.error?.code).toBe(code);
  expect(answer.status).toBe(ERRORS[code].http);
  const { message, retryable, requestId } = answer.json.error;
  expect(isErrorCode(code)).toBe(true);
  expect(message).toMatch(/./);
  expect(retryable).toBe(ERRORS[code].retryable);
  expect(requestId).toMatch(/^req-/);
  expect(answer.headers['x-request-id']).toBe(requestId);
}

const JSON_TYPE = { 'content-type': 'application/json' };

test('a missing or wrong key is unauthenticated, before the body is read', async () => {
  for (const key of [null, 'wrong key', '']) {
    const answer = await gateway.ask('POST', '/v1/sandboxes', { key, raw: '{not json', headers: JSON_TYPE });
    expectError(answer, 'unauthenticated');
    expect(answer.headers['www-authenticate']).toBe('Bearer');
  }
  expectError(
    await gateway.ask('GET', '/v1/sandboxes', { key: null, headers: { authorization: 'Basic abc' } }),
    'unauthenticated',
  );
});

test('malformed JSON is an invalid request', async () => {
  for (const raw of ['{', 'null', '[]', '"text"', '{"__proto__": {}}', '{"image": "a"', '\u0000', '{"a":1}}']) {
    expectError(await gateway.ask('POST', '/v1/sandboxes', { raw, headers: JSON_TYPE }), 'invalid_request');
  }
  expectError(
    await gateway.ask('POST', '/v1/sandboxes', { raw: 'a=b', headers: { 'content-type': 'text/plain' } }),
    'invalid_request',
  );
});

test.each([
  { unknown: 1 },
  { image: 5 },
  { image: '' },
  { image: 'Nope:::bad image' },
  { image: '-rf' },
  { startCommand: 'a\0b' },
  { cpus: 0 },
  { cpus: -1 },
  { cpus: '2' },
  { cpus: 1e9 },
  { memoryMb: -5 },
  { memoryMb: 1.5 },
  { memoryMb: 1e300 },
  { timeoutMs: 0 },
  { timeoutMs: -1 },
  { timeoutMs: 0.5 },
  { timeoutMs: '5' },
  { timeoutMs: null },
  { idleTimeoutMs: 0 },
  { count: 0 },
  { count: 1_000_000 },
  { labels: { a: 1 } },
  { labels: ['a'] },
  { env: { 'A=B': 'x' } },
  { env: { A: 'x\u0000y' } },
  { env: { '': 'x' } },
  { network: 'on' },
  { pidsLimit: 1 },
  { name: '' },
])('a create with %j is an invalid request that names the field', async (body) => {
  const answer = await gateway.ask('POST', '/v1/sandboxes', { body });
  expectError(answer, 'invalid_request');
  expect(answer.json.error.details.issues[0].path).toMatch(/^body/);
  expect(answer.json.error.message).toContain(answer.json.error.details.issues[0].path);
});

test('an invalid variable name is refused with the rule for names', async () => {
  const answer = await gateway.ask('POST', '/v1/sandboxes', { body: { env: { 'A=B': 'x' } } });
  expectError(answer, 'invalid_request');
  const rule = 'an environment name cannot be empty, or contain "=" or a zero byte';
  expect(answer.json.error.message).toBe(`body.env.A=B: ${rule}`);
});

test('a disk that is too small for anything is refused with the minimum size', async () => {
  for (const diskMb of [0, 1, 3]) {
    const answer = await gateway.ask('POST', '/v1/sandboxes', { body: { diskMb } });
    expectError(answer, 'invalid_request');
    expect(answer.json.error.message).toBe('body.diskMb: a disk has at least 4 MiB');
  }
  expect((await gateway.ask('POST', '/v1/sandboxes', { body: { diskMb: 4 } })).status).toBe(201);
});

test.each([
  {},
  { command: '' },
  { command: 5 },
  { command: 'a', argv: ['a'] },
  { argv: [] },
  { argv: 'ls' },
  { argv: [1] },
  { command: 'a\u0000b' },
  { command: 'a', timeoutMs: 0 },
  { command: 'a', timeoutMs: -1 },
  { command: 'a', timeoutMs: 0.2 },
  { command: 'a', timeoutMs: 1e15 },
  { command: 'a', maxOutputBytes: -1 },
  { command: 'a', maxOutputBytes: 1e12 },
  { command: 'a', encoding: 'latin1' },
  { command: 'a', stdin: 'not base64!', encoding: 'base64' },
  { command: 'a', env: { A: 1 } },
  { command: 'a', user: '' },
  { command: 'a', killGraceMs: -1 },
  { command: 'a', surprise: true },
])('an exec with %j is an invalid request, and nothing runs', async (body) => {
  const id = await gateway.sandbox();
  const before = gateway.node.execs.started.length;
  expectError(await gateway.ask('POST', `/v1/sandboxes/${id}/exec`, { body }), 'invalid_request');
  expect(gateway.node.execs.started.length).toBe(before);
});

test('absurd queries are invalid requests', async () => {
  for (const query of [
    'limit=0',
    'limit=-1',
    'limit=1e3',
    'limit=99999999999999999999',
    'limit=ten',
    'cursor=rubbish',
    'cursor=',
    'status=running',
    'label=novalue',
    'label==x',
    'what=ever',
  ]) {
    expectError(await gateway.ask('GET', `/v1/sandboxes?${query}`), 'invalid_request');
  }
  const id = await gateway.sandbox();
  for (const query of ['waitMs=-1', 'waitMs=1e9', 'waitMs=', 'waitMs=1&waitMs=2']) {
    expectError(await gateway.ask('GET', `/v1/sandboxes/${id}?${query}`), 'invalid_request');
  }
});

test('a delete without a label filter deletes nothing', async () => {
  const id = await gateway.sandbox();
  expectError(await gateway.ask('DELETE', '/v1/sandboxes'), 'invalid_request');
  expect((await gateway.ask('GET', `/v1/sandboxes/${id}`)).json.status).toBe('RUNNING');
});

test('unknown routes, methods and ids are distinguished', async () => {
  expectError(await gateway.ask('GET', '/v1/nothing'), 'not_found');
  expectError(await gateway.ask('GET', '/'), 'not_found');
  expectError(await gateway.ask('PATCH', '/v1/sandboxes'), 'not_found');
  expectError(await gateway.ask('GET', '/v1/sandboxes/sbx-nothing'), 'sandbox_not_found');
  expectError(await gateway.ask('GET', `/v1/sandboxes/${'x'.repeat(290)}`), 'invalid_request');
  expectError(await gateway.ask('DELETE', '/v1/sandboxes/sbx-nothing'), 'sandbox_not_found');
  expectError(await gateway.exec('sbx-nothing', {}), 'sandbox_not_found');
  const id = await gateway.sandbox();
  expectError(await gateway.ask('GET', `/v1/sandboxes/${id}/execs/exe-nothing`), 'exec_not_found');
  expectError(
    await gateway.ask('POST', `/v1/sandboxes/${id}/execs/exe-nothing/signal`, { body: { signal: 'KILL' } }),
    'exec_not_found',
  );
  expectError(
    await gateway.ask('POST', `/v1/sandboxes/${id}/execs/exe-nothing/signal`, { body: { signal: 'NOPE' } }),
    'invalid_request',
  );
  expectError(await gateway.ask('GET', '/v1/%zz'), 'invalid_request');
});

test('a body over the limit is refused as such', async () => {
  const answer = await gateway.ask('POST', '/v1/sandboxes', {
    raw: JSON.stringify({ image: 'x'.repeat(41 * 1024 * 1024) }),
    headers: JSON_TYPE,
  });
  expectError(answer, 'body_too_large');
});

test('a specification that fits the body limit but not the node link is refused before anything is created', async () => {
  const env = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`V${i}`, 'x'.repeat(100_000)]));
  const before = (await gateway.ask('GET', '/v1/sandboxes')).json.sandboxes.length;
  expectError(await gateway.ask('POST', '/v1/sandboxes', { body: { env } }), 'body_too_large');
  expect((await gateway.ask('GET', '/v1/sandboxes')).json.sandboxes.length).toBe(before);
});

test('a key without administrator rights sees no nodes, pools or images', async () => {
  for (const path of ['/v1/nodes', '/v1/pools', '/v1/images']) {
    expectError(await gateway.ask('GET', path, { key: OTHER_KEY }), 'forbidden');
    expect((await gateway.ask('GET', path)).status).toBe(200);
  }
});

test('a bad idempotency key is an invalid request', async () => {
  for (const key of ['with space', 'x'.repeat(256)]) {
    const answer = await gateway.ask('POST', '/v1/sandboxes', { body: {}, headers: { 'idempotency-key': key } });
    expectError(answer, 'invalid_request');
  }
});

test('a request that offers another protocol is answered over HTTP/1.1', async () => {
  const offer = { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQAAP__' };
  expect(await raw('GET /healthz', { host: 'x', ...offer })).toMatch(/^HTTP\/1\.1 200 [^]*\{"ok":true\}$/);
});

test('a request that names no host gets a typed error', async () => {
  expect(await raw('GET /healthz', {})).toMatch(/^HTTP\/1\.1 400 [^]*"code":"invalid_request"/);
});

test('a head over the limit is refused as such', async () => {
  expect(await raw('GET /healthz', { host: 'x', large: 'x'.repeat(20_000) })).toMatch(
    /^HTTP\/1\.1 413 Payload Too Large\r\n[^]*"code":"body_too_large"/,
  );
});

test('what follows a request that is still being answered cannot be answered in its place', async () => {
  const id = await gateway.sandbox();
  const body = JSON.stringify({ command: JSON.stringify({ hang: true }) });
  const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
  socket.on('error', () => undefined);
  const head = `host: x\r\nauthorization: Bearer ${KEY.replaceAll(' ', '-')}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}`;
  socket.write(`POST /v1/sandboxes/${id}/exec HTTP/1.1\r\n${head}\r\n\r\n${body}`);
  await gateway.until('the command runs', () => gateway.node.execs.started.length > 0);
  socket.end('rubbish\r\n\r\n');
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  expect(Buffer.concat(chunks).toString()).toBe('');
});

/** Sends a head as it is, and reads the complete answer. */
async function raw(line: string, headers: Record<string, string>): Promise<string> {
  const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
  socket.on('error', () => undefined);
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`${line} HTTP/1.1\r\n${lines.join('')}\r\n`);
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

test.each([
  'rubbish\r\n\r\n',
  'GET / HTTP/9.9\r\n\r\n',
  `GET /${'a'.repeat(100_000)} HTTP/1.1\r\n\r\n`,
  '\x16\x03\x01',
])('what is not HTTP is answered or dropped', async (bytes) => {
  const { port } = new URL(gateway.url);
  const socket = connect(Number(port), '127.0.0.1');
  socket.on('error', () => undefined);
  socket.end(bytes);
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  if (text !== '') expect(text).toMatch(/^HTTP\/1\.1 4\d\d /);
  expect((await gateway.ask('GET', '/healthz', { key: null })).status).toBe(200);
});
