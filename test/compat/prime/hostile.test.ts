/** Clients of the Prime wire that are hostile, broken or unlucky: each gets an error, and nothing is left behind. */
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { connect as connectTcp } from 'node:net';
import { gzipSync } from 'node:zlib';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StartRequestSchema } from '../../../src/gateway/doors/prime/connect/command-session.gen.ts';
import { residentMb } from '../../helpers/host.ts';
import { freePort } from '../../helpers/ports.ts';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { until } from '../../helpers/until.ts';
import { testImage } from './clients.ts';
import { ask, multipart, type Answer, type Call } from './raw-call.ts';

const LIMIT_MS = 60_000;
const OTHER_KEY = 'mbx_key_of_another_tenant';
const MIB = 1024 * 1024;
const BIG_MIB = 200;
/** Far below the file, and far above what a process varies by itself. */
const MAY_GROW_MB = 120;
const START = 'command_session.CommandSession/Start';
const STREAM = 'application/connect+proto';

let stack: TestStack;
let tcpPort: number;
/** The sandbox of most tests, and another of the same tenant. */
let mine: Plane;
let beside: Plane;

interface Plane {
  id: string;
  url: string;
  token: string;
}

async function api(method: string, path: string, body?: unknown, key = stack.apiKey): Promise<Answer> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  return await ask(`${stack.url}/api/v1${path}`, {
    method,
    headers,
    body: body === undefined ? '' : JSON.stringify(body),
  });
}

const json = ({ body }: Answer): Record<string, unknown> => JSON.parse(body.toString()) as Record<string, unknown>;

async function planeOf(id: string): Promise<Plane> {
  const auth = json(await api('POST', `/sandbox/${id}/auth`));
  const url = `${String(auth['gateway_url'])}/${String(auth['user_ns'])}/${String(auth['job_id'])}`;
  return { id, url, token: String(auth['token']) };
}

async function made(): Promise<Plane> {
  const { id } = json(await api('POST', '/sandbox', { name: 'hostile', docker_image: testImage() }));
  return await planeOf(String(id));
}

const bearer = ({ token }: Plane): Record<string, string> => ({ authorization: `Bearer ${token}` });

async function run(command: string, plane = mine): Promise<string> {
  const headers = { ...bearer(plane), 'content-type': 'application/json' };
  const answer = await ask(`${plane.url}/exec`, { headers, body: JSON.stringify({ command, timeout: 60 }) });
  expect(answer.status, answer.body.toString()).toBe(200);
  return String(json(answer)['stdout']);
}

/** One envelope of the stream protocol. */
function envelope(payload: Uint8Array, { flags = 0, length = payload.length } = {}): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flags, 0);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, payload]);
}

const startOf = (text: string, more: object = {}): Uint8Array =>
  toBinary(
    StartRequestSchema,
    create(StartRequestSchema, { command: { cmd: '/bin/bash', args: ['-c', text], envs: {} }, ...more }),
  );

const start = (body: Uint8Array, headers: Record<string, string> = {}, plane = mine): Promise<Answer> =>
  ask(`${plane.url}/${START}`, {
    headers: { ...bearer(plane), 'content-type': STREAM, 'connect-protocol-version': '1', ...headers },
    body,
  });

/** Code of the error that a stream ended with. */
const codeOf = ({ body }: Answer): string | undefined => /"code":"(\w+)"/.exec(body.toString('latin1'))?.[1];

beforeAll(async () => {
  tcpPort = await freePort();
  stack = await startStack({
    pool: 2,
    gatewayEnv: {
      MILLIBOX_PRIME_NETWORK: 'off',
      MILLIBOX_PRIME_TCP_PORTS: `${tcpPort}-${tcpPort}`,
      MILLIBOX_API_KEYS: `other:${createHash('sha256').update(OTHER_KEY).digest('hex')}`,
    },
  });
  [mine, beside] = await Promise.all([made(), made()]);
  await Promise.all([run('true'), run('true', beside)]);
});
afterAll(() => stack?.stop());

describe('a malformed stream', () => {
  const good = startOf('echo never >> /tmp/never');
  test.each([
    ['an envelope longer than any message', envelope(good, { length: 0x7fff_ffff }), {}],
    ['an envelope that is cut off', envelope(good).subarray(0, 20), {}],
    ['a head that is cut off', Buffer.from([0, 0, 0]), {}],
    ['nothing at all', Buffer.alloc(0), {}],
    ['what is no message', envelope(Buffer.from('\xff\xff\xff\xffrubbish', 'latin1')), {}],
    ['a message without a command', envelope(new Uint8Array()), {}],
    ['two requests', Buffer.concat([envelope(good), envelope(good)]), {}],
    ['compressed by nothing that was said', envelope(good, { flags: 1 }), {}],
    ['compressed by what is not known', envelope(good, { flags: 1 }), { 'connect-content-encoding': 'zstd' }],
    ['said to be compressed and not', envelope(good, { flags: 1 }), { 'connect-content-encoding': 'gzip' }],
    [
      'more than may be, compressed to little',
      envelope(gzipSync(Buffer.alloc(64 * MIB)), { flags: 1 }),
      { 'connect-content-encoding': 'gzip' },
    ],
    ['a deadline that is none', envelope(good), { 'connect-timeout-ms': 'soon' }],
    ['an id of a session that is none', envelope(startOf('echo never >> /tmp/never', { sessionUuid: '../../x' })), {}],
  ])('%s is an error, and no command ran', { timeout: LIMIT_MS }, async (_what, body, headers) => {
    const answer = await start(body, headers as Record<string, string>);
    expect(codeOf(answer), answer.body.toString('latin1')).toMatch(
      /^(invalid_argument|unimplemented|resource_exhausted|internal|data_loss)$/,
    );
    expect(await run('cat /tmp/never 2>/dev/null; echo none')).toBe('none\n');
  });

  test.each(['application/json', 'text/plain', 'application/grpc'])('the content type %j is 415', async (type) => {
    const answer = await start(envelope(good), { 'content-type': type });
    expect(answer.status).toBe(415);
  });

  test('an unknown protocol version is refused, and a request without one is served', async () => {
    const other = await start(envelope(good), { 'connect-protocol-version': '9' });
    expect(codeOf(other)).toBe('invalid_argument');
    const list = `${mine.url}/command_session.CommandSession/List`;
    const headers = { ...bearer(mine), 'content-type': 'application/proto' };
    expect(await ask(list, { headers })).toMatchObject({ status: 200 });
    expect(await ask(list, { headers: { ...headers, 'connect-protocol-version': '2' } })).toMatchObject({
      status: 400,
    });
  });

  test('a properly compressed request runs', async () => {
    const body = envelope(gzipSync(startOf('echo packed')), { flags: 1 });
    const answer = await start(body, { 'connect-content-encoding': 'gzip' });
    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': STREAM } });
    expect(answer.body.toString('latin1')).toContain('packed\n');
  });

  test('streams dropped at once, at any point, leave no process', { timeout: LIMIT_MS }, async () => {
    const body = envelope(startOf('exec sleep 617'));
    const url = new URL(`${mine.url}/${START}`);
    const head = `POST ${url.pathname} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${mine.token}\r\ncontent-type: ${STREAM}\r\nconnect-protocol-version: 1\r\ncontent-length: ${body.length}\r\n\r\n`;
    const whole = Buffer.concat([Buffer.from(head), body]);
    for (let n = 0; n < 24; n++) {
      const socket = connectTcp(Number(url.port), url.hostname);
      socket.on('error', () => undefined);
      await once(socket, 'connect');
      socket.write(whole.subarray(0, n % 3 === 0 ? head.length + n : whole.length));
      if (n % 3 === 2) await Promise.race([once(socket, 'data'), once(socket, 'close')]);
      socket.resetAndDestroy();
    }
    const look = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '";
    await until(async () => !(await run(look)).includes('sleep 617'), LIMIT_MS, 'no command to be left');
  });
});

describe('access is denied', () => {
  test.each(['exec', 'upload?path=/tmp/x', 'download?path=/etc/passwd', 'read-file?path=/etc/passwd', START])(
    'the token of one sandbox does not open %s of another',
    async (operation) => {
      const method = /^(download|read-file)/.test(operation) ? 'GET' : 'POST';
      const type = operation === START ? STREAM : 'application/json';
      const headers = { ...bearer(beside), 'content-type': type };
      const body = operation === START ? envelope(startOf('true')) : '';
      const answer = await ask(`${mine.url}/${operation}`, { method, headers, body });
      if (operation === START) expect([401, 200]).toContain(answer.status);
      else expect(answer.status).toBe(401);
      expect(answer.body.toString('latin1')).toMatch(/unauthenticated/);
    },
  );

  test('to another tenant a sandbox does not exist, however it is requested', async () => {
    const asOther = (method: string, path: string, body?: unknown) => api(method, path, body, OTHER_KEY);
    const { id } = mine;
    for (const [method, path, body] of [
      ['GET', `/sandbox/${id}`],
      ['DELETE', `/sandbox/${id}`],
      ['POST', `/sandbox/${id}/auth`],
      ['GET', `/sandbox/${id}/logs`],
      ['GET', `/sandbox/${id}/error-context`],
      ['GET', `/sandbox/${id}/egress-policy`],
      ['PUT', `/sandbox/${id}/egress-policy`, { allowlist: [], denylist: null }],
      ['GET', `/sandbox/${id}/expose`],
      ['POST', `/sandbox/${id}/expose`, { port: 80 }],
      ['DELETE', `/sandbox/${id}/expose/exp-1`],
      ['POST', `/sandbox/${id}/ssh-session`, {}],
    ] as const) {
      const answer = await asOther(method, path, body);
      expect(answer.status, `${method} ${path}`).toBe(404);
      expect(json(answer)['detail']).toEqual(expect.any(String));
    }
    const looked = json(await asOther('POST', '/sandbox/status:batchGet', { sandbox_ids: [id] }));
    expect(looked).toMatchObject({ statuses: [], errors: [{ sandbox_id: id, code: 'NOT_FOUND' }] });
    const jobs = { jobs: [{ sandbox_id: id, job_id: 'deadbeef' }] };
    const looking = json(await asOther('POST', '/sandbox/background-jobs/status:batchGet', jobs));
    expect(looking).toMatchObject({ statuses: [], errors: [{ code: 'NOT_FOUND' }] });
    const deleted = json(await asOther('DELETE', '/sandbox', { sandbox_ids: [id] }));
    expect(deleted).toMatchObject({ succeeded: [], failed: [{ sandbox_id: id }] });
    expect(json(await asOther('GET', '/sandbox'))).toMatchObject({ sandboxes: [], total: 0 });
    expect(await run('echo alive')).toBe('alive\n');
  });
});

async function upload(path: string, content: Uint8Array, more: Call & { name?: string } = {}): Promise<Answer> {
  const { type, body } = multipart(content, more.name);
  const headers = { ...bearer(mine), 'content-type': type, 'content-length': String(body.length), ...more.headers };
  return await ask(`${mine.url}/upload?path=${encodeURIComponent(path)}`, { headers, body: more.body ?? body });
}

describe('files', () => {
  test.each(['it\'s a "name"', 'ä€😀', 'a\nb', '-rf', '%2e%2e', 'a?b&c=d#e', '…'.repeat(80)])(
    'the name %j is stored and read unchanged',
    async (name) => {
      const path = `/tmp/odd/${name}`;
      expect(await upload(path, Buffer.from(name))).toMatchObject({ status: 200 });
      const query = `path=${encodeURIComponent(path)}`;
      const read = await ask(`${mine.url}/read-file?${query}`, { method: 'GET', headers: bearer(mine) });
      expect(json(read)).toMatchObject({ content: name, truncated: false });
      const whole = await ask(`${mine.url}/download?${query}`, { method: 'GET', headers: bearer(mine) });
      expect(whole.body.toString()).toBe(name);
    },
  );

  test('a file name in the body is ignored: only the path of the call counts', async () => {
    expect(await upload('/tmp/here', Buffer.from('x'), { name: '../../etc/owned' })).toMatchObject({ status: 200 });
    expect(await run('ls /etc/owned /tmp/owned 2>/dev/null; cat /tmp/here')).toBe('x');
  });

  test('a path upwards stays inside the sandbox', async () => {
    const up = `/tmp/${'../'.repeat(30)}tmp/climbed`;
    expect(await upload(up, Buffer.from('inside'))).toMatchObject({ status: 200 });
    expect(await run('cat /tmp/climbed')).toBe('inside');
  });

  test.each(['', 'a\0b', 'x'.repeat(5_000), '/proc/1/mem', '/dev/null/x', '/etc'])(
    'the path %j is refused permanently',
    async (path) => {
      const { status } = await upload(path, Buffer.from('x'));
      expect([400, 403, 404, 422]).toContain(status);
    },
  );

  test.each([
    ['no multipart', { 'content-type': 'application/json' }, '{}'],
    ['a multipart without a boundary', { 'content-type': 'multipart/form-data' }, 'x'],
    ['one with no part', { 'content-type': 'multipart/form-data; boundary=b' }, '--b--\r\n'],
  ])('%s is refused', async (_what, headers, body) => {
    const length = { 'content-length': String(body.length) };
    expect(await upload('/tmp/none', Buffer.alloc(0), { headers: { ...headers, ...length }, body })).toMatchObject({
      status: 400,
    });
    expect(await run('ls /tmp/none 2>/dev/null; echo none')).toBe('none\n');
  });

  test('an interrupted upload leaves no partial file', async () => {
    const { type, body } = multipart(Buffer.alloc(4 * MIB, 'h'));
    const call = request(`${mine.url}/upload?path=/tmp/half`, {
      method: 'POST',
      headers: { ...bearer(mine), 'content-type': type, 'content-length': String(body.length) },
      agent: false,
    });
    call.on('error', () => undefined);
    call.write(body.subarray(0, 2 * MIB));
    await once(call, 'drain');
    const closed = Promise.withResolvers<void>();
    call.once('close', () => closed.resolve());
    call.destroy();
    await closed.promise;
    expect(await run('ls /tmp/half 2>/dev/null; echo none')).toBe('none\n');
  });

  test('an upload refused before it has arrived gets an answer, which can be read', { timeout: LIMIT_MS }, async () => {
    const answer = await upload('/tmp/late', Buffer.alloc(20 * MIB), {
      headers: { authorization: 'Bearer none.none' },
    });
    expect(answer.status).toBe(401);
  });

  test('a large upload takes little memory', { timeout: 4 * LIMIT_MS }, async () => {
    const boundary = randomUUID();
    const piece = Buffer.alloc(MIB, 'l');
    async function* body(): AsyncGenerator<Uint8Array> {
      yield Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n`);
      for (let n = 0; n < BIG_MIB; n++) yield piece;
      yield Buffer.from(`\r\n--${boundary}--\r\n`);
    }
    const before = residentMb(stack.gatewayPid);
    let most = before;
    const looking = setInterval(() => (most = Math.max(most, residentMb(stack.gatewayPid))), 50);
    try {
      const headers = { ...bearer(mine), 'content-type': `multipart/form-data; boundary=${boundary}` };
      const answer = await ask(`${mine.url}/upload?path=/tmp/large`, { headers, body: body() });
      expect(json(answer)).toMatchObject({ success: true, size: BIG_MIB * MIB });
    } finally {
      clearInterval(looking);
    }
    expect(await run('stat -c %s /tmp/large; rm /tmp/large')).toBe(`${BIG_MIB * MIB}\n`);
    expect(most - before).toBeLessThan(MAY_GROW_MB);
  });

  test.each([
    ['offset=10', { content: '', offset: 10, truncated: true }],
    ['offset=9', { content: '9', offset: 9, truncated: true }],
    ['offset=-1', { content: '9', offset: 9, truncated: true }],
    ['offset=-10', { content: '0123456789', offset: 0, truncated: false }],
    ['offset=-99999', { content: '0123456789', offset: 0, truncated: false }],
    ['offset=0&length=0', { content: '', truncated: true }],
    ['offset=2&length=99999999999', { content: '23456789', offset: 2, truncated: true }],
  ])('the window %s of ten bytes', async (window, expected) => {
    await upload('/tmp/ten', Buffer.from('0123456789'));
    const read = await ask(`${mine.url}/read-file?path=/tmp/ten&${window}`, { method: 'GET', headers: bearer(mine) });
    expect(read.status, read.body.toString()).toBe(200);
    expect(json(read)).toMatchObject({ ...expected, total_size: 10 });
  });

  test.each(['offset=11', 'offset=x', 'length=-1', 'offset=1.5', 'offset=1e400'])(
    'the window %s is invalid',
    async (window) => {
      const read = await ask(`${mine.url}/read-file?path=/tmp/ten&${window}`, { method: 'GET', headers: bearer(mine) });
      expect([400, 416]).toContain(read.status);
    },
  );
});

describe('a connection', () => {
  const agent = { 'user-agent': 'python-httpx/0.28.1', connection: 'keep-alive' };
  test('is not left with a client whose pool would close it during a call', async () => {
    for (const operation of ['download', 'read-file']) {
      const url = `${mine.url}/${operation}?path=/etc/hostname`;
      const answer = await ask(url, { method: 'GET', headers: { ...bearer(mine), ...agent } });
      expect(answer.headers.connection, operation).toBe('close');
      const other = await ask(url, { method: 'GET', headers: { ...bearer(mine), connection: 'keep-alive' } });
      expect(other.headers.connection, operation).toBe('keep-alive');
    }
    expect((await upload('/tmp/closed', Buffer.from('x'), { headers: agent })).headers.connection).toBe('close');
  });
});

test('deletes by label two thousand missing sandboxes, and unknown labels', async () => {
  const many = Array.from({ length: 2_000 }, (_, n) => `sbx-${String(n).padStart(20, '0')}`);
  const deleted = json(await api('DELETE', '/sandbox', { sandbox_ids: many }));
  expect(deleted['succeeded']).toEqual([]);
  expect(deleted['failed']).toHaveLength(2_000);
  expect(json(await api('DELETE', '/sandbox', { labels: ['nobody-has-this'] }))).toMatchObject({
    succeeded: [],
    failed: [],
  });
  expect(await api('DELETE', '/sandbox', { all_users: true })).toMatchObject({ status: 422 });
  expect(await run('echo alive')).toBe('alive\n');
});

test('a port exposed for TCP is closed when its gateway shuts down', { timeout: LIMIT_MS }, async () => {
  const exposed = json(await api('POST', `/sandbox/${mine.id}/expose`, { port: 8125, protocol: 'TCP' }));
  expect(exposed).toMatchObject({ external_port: tcpPort });
  // Where nothing listens, the connection would be over at once.
  const listens =
    'import socket, time; s = socket.create_server(("", 8125)); print("up", flush=True); s.accept(); time.sleep(600)';
  await run(`python3 -c '${listens}' >/tmp/8125 2>&1 & until grep -q up /tmp/8125; do sleep 0.02; done`);
  const socket = connectTcp(tcpPort, '127.0.0.1');
  await once(socket, 'connect');
  const over = Promise.withResolvers<void>();
  socket.on('error', () => undefined);
  socket.once('close', () => over.resolve());
  await stack.killGateway('SIGTERM');
  await over.promise;
  await expect(once(connectTcp(tcpPort, '127.0.0.1'), 'connect')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});
