import { createHash, randomBytes } from 'node:crypto';
import { afterEach, expect, test } from 'vitest';
import { encodeName } from '../../protocol/names.ts';
import { TestGateway } from '../testing/harness.ts';
import { parseRange } from './range.ts';

let gateway: TestGateway | null = null;
afterEach(() => gateway?.[Symbol.asyncDispose]());

const at = (id: string, path: string, more = '') => `/v1/sandboxes/${id}/files?path=${encodeName(path)}${more}`;
const sha = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

test.each([0, 1, 18_500, 131_072, 1_048_577, 17 * 1024 * 1024])(
  'a file of %d bytes comes back byte for byte',
  async (size) => {
    gateway = await TestGateway.start();
    const id = await gateway.sandbox();
    const bytes = randomBytes(size);
    const put = await gateway.ask('PUT', at(id, '/data/f.bin', '&mode=0755&owner=1:1'), { raw: bytes });
    expect(put.json).toMatchObject({ path: '/data/f.bin', sizeBytes: size });
    expect(gateway.node.files.calls[0]).toMatchObject({
      call: 'write',
      path: '/data/f.bin',
      size,
      mode: 0o755,
      owner: '1:1',
    });
    const got = await gateway.ask('GET', at(id, '/data/f.bin'));
    expect(got.status).toBe(200);
    expect(got.headers['content-type']).toBe('application/octet-stream');
    expect(sha(got.bytes)).toBe(sha(bytes));
  },
);

test.each([
  ['1700000000123.456', 1_700_000_000_123.456],
  ['0', 0],
  ['-1', -1],
])('a file is written with the time given by its writer: %s', async (text, modifiedAtMs) => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  await gateway.ask('PUT', at(id, '/f', `&modifiedAtMs=${text}`), { raw: 'x' });
  expect(gateway.node.files.calls[0]).toMatchObject({ call: 'write', modifiedAtMs });
});

test.each(['', 'now', '1e3', '2024-01-01T00:00:00Z', '9000000000000000', 'NaN'])(
  'an invalid time is refused: %j',
  async (text) => {
    gateway = await TestGateway.start();
    const id = await gateway.sandbox();
    const put = await gateway.ask('PUT', at(id, '/f', `&modifiedAtMs=${text}`), { raw: 'x' });
    expect(put.json.error.code).toBe('invalid_request');
    expect(gateway.node.files.calls).toEqual([]);
  },
);

test('a body of JSON, of text or of no type is bytes like any other', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  for (const type of ['application/json', 'text/plain', 'multipart/form-data; boundary=x']) {
    await gateway.ask('PUT', at(id, '/f'), { raw: '{ not json', headers: { 'content-type': type } });
    expect((await gateway.ask('GET', at(id, '/f'))).bytes.toString()).toBe('{ not json');
  }
});

test('an upload of unknown length is streamed, and no size is claimed for it', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  async function* body() {
    for (let i = 0; i < 100; i++) {
      yield Buffer.alloc(10_000, i);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  const put = await gateway.ask('PUT', at(id, '/f'), { raw: body() });
  expect(put.json.sizeBytes).toBe(1_000_000);
  expect(gateway.node.files.calls[0]).not.toHaveProperty('size');
});

test.each([
  'a b+c%20d?e#f&g.txt',
  '-rf',
  '\'q".txt',
  'nl\nx',
  'é\u0301',
  '😀',
  '..hidden',
  'trailing ',
  'C:\\x',
  'x'.repeat(255),
  '\udc80\udcff',
])('the name %j arrives unchanged', async (name) => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  await gateway.ask('PUT', at(id, `/d/${name}`), { raw: 'x' });
  expect(gateway.node.files.calls[0]?.['path']).toBe(`/d/${name}`);
});

test('a name is never replaced by another: an encoding that is not bytes is refused', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const mkdir = (body: string | Buffer) =>
    gateway!.ask('POST', `/v1/sandboxes/${id}/files/mkdir`, {
      raw: body,
      headers: { 'content-type': 'application/json' },
    });
  const latin = Buffer.from('{"path": "/caf\xe9"}', 'latin1');
  for (const body of ['{"path": "/\\ud800"}', latin]) {
    const answer = await mkdir(body);
    expect([answer.status, answer.json.error.code]).toEqual([400, 'invalid_request']);
  }
  expect((await mkdir('{"path": "/\\udcff"}')).status).toBe(200);
  expect(gateway.node.files.calls.map((call) => call['path'])).toEqual(['/\udcff']);
});

test('a mode is a number, as in answers, or octal text, as in a query', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  for (const mode of [0o2750, '2750', '02750']) {
    await gateway.ask('POST', `/v1/sandboxes/${id}/files/mkdir`, { body: { path: '/d', mode } });
  }
  expect(gateway.node.files.calls.map((call) => call['mode'])).toEqual([0o2750, 0o2750, 0o2750]);
});

test('a partial file never replaces the complete one', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const headers = { 'content-range': 'bytes 2-3/10' };
  const answer = await gateway.ask('PUT', at(id, '/f'), { raw: 'xy', headers });
  expect([answer.status, answer.json.error.code]).toEqual([400, 'invalid_request']);
  expect(gateway.node.files.calls).toEqual([]);
});

test('ranges are answered with 206, wrong ones with 416, unsupported ones with the whole file', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  await gateway.ask('PUT', at(id, '/f'), { raw: '0123456789' });
  const get = (range: string) => gateway?.ask('GET', at(id, '/f'), { headers: { range } });
  const first = await get('bytes=2-4');
  expect([first?.status, first?.bytes.toString(), first?.headers['content-range']]).toEqual([
    206,
    '234',
    'bytes 2-4/10',
  ]);
  expect((await get('bytes=7-'))?.bytes.toString()).toBe('789');
  expect((await get('bytes=-2'))?.bytes.toString()).toBe('89');
  expect((await get('bytes=8-99'))?.headers['content-range']).toBe('bytes 8-9/10');
  expect((await get('bytes=0-99999999999999999999'))?.headers['content-range']).toBe('bytes 0-9/10');
  for (const beyond of ['bytes=10-', 'bytes=99999999999999999999-', 'bytes=-0']) {
    const refused = await get(beyond);
    expect([refused?.status, refused?.json.error.code]).toEqual([416, 'range_not_satisfiable']);
    expect(refused?.headers['content-range']).toBe('bytes */10');
  }
  for (const range of ['bytes=1-2,4-5', 'lines=1-2', 'bytes=5-1', 'bytes=-']) {
    const whole = await get(range);
    expect([whole?.status, whole?.bytes.toString()]).toEqual([200, '0123456789']);
  }
});

test('a download is resumed only while the file is the same', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  await gateway.ask('PUT', at(id, '/f'), { raw: '0123456789' });
  const get = (headers: Record<string, string>) => gateway?.ask('GET', at(id, '/f'), { headers });
  const etag = String((await get({}))?.headers['etag']);
  const rest = await get({ range: 'bytes=5-', 'if-range': etag });
  expect([rest?.status, rest?.bytes.toString()]).toEqual([206, '56789']);
  await gateway.ask('PUT', at(id, '/f'), { raw: 'another one' });
  for (const stale of [etag, '"other"', 'Sun, 06 Nov 1994 08:49:37 GMT']) {
    const whole = await get({ range: 'bytes=5-', 'if-range': stale });
    expect([whole?.status, whole?.bytes.toString()]).toEqual([200, 'another one']);
  }
});

test('HEAD returns the headers of GET, and reads nothing', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  await gateway.ask('PUT', at(id, '/f'), { raw: '0123456789' });
  const head = await gateway.ask('HEAD', at(id, '/f'));
  expect([head.status, head.bytes.length, head.headers['content-length']]).toEqual([200, 0, '10']);
  expect(head.headers['etag']).toBe((await gateway.ask('GET', at(id, '/f'))).headers['etag']);
  expect((await gateway.ask('HEAD', at(id, '/none'))).status).toBe(404);
  expect(gateway.node.files.calls[1]).toMatchObject({ call: 'read', length: 0 });
});

test('a range of an empty file', () => {
  expect(() => parseRange('bytes=0-', 0)).toThrow(expect.objectContaining({ code: 'range_not_satisfiable' }));
  expect(() => parseRange('bytes=-5', 0)).toThrow(expect.objectContaining({ code: 'range_not_satisfiable' }));
});

test('errors of files are typed, and so are bad calls', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  expect((await gateway.ask('GET', at(id, '/none'))).json.error.code).toBe('file_not_found');
  expect((await gateway.ask('GET', at(id, '/none'), { headers: { range: 'bytes=0-' } })).json.error.code).toBe(
    'file_not_found',
  );
  expect((await gateway.ask('DELETE', at(id, '/none'))).json.error.code).toBe('file_not_found');
  for (const query of [
    '',
    '?path=',
    '?path=%00',
    '?path=/f&mode=999',
    '?path=/f&append=maybe',
    '?path=/f&surprise=1',
  ]) {
    const answer = await gateway.ask('PUT', `/v1/sandboxes/${id}/files${query}`, { raw: 'x' });
    expect(answer.json.error.code).toBe('invalid_request');
  }
});

test('list, stat, mkdir, move, chmod, remove and tar call the sandbox', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const base = `/v1/sandboxes/${id}/files`;
  await gateway.ask('PUT', at(id, '/f'), { raw: 'x' });
  expect((await gateway.ask('GET', `${base}/list?path=/`)).json).toMatchObject({
    entries: [{ name: '/f' }],
    more: false,
  });
  expect((await gateway.ask('GET', `${base}/stat?path=/f&follow=false`)).json).toMatchObject({ sizeBytes: 1 });
  for (const [name, body] of [
    ['mkdir', { path: '/d', mode: 493 }],
    ['move', { path: '/a', to: '/b', overwrite: true }],
    ['chmod', { path: '/a', mode: 420, owner: 'root' }],
  ] as const) {
    expect((await gateway.ask('POST', `${base}/${name}`, { body })).json).toEqual({});
  }
  expect((await gateway.ask('DELETE', `${base}?path=/f&recursive=true`)).json).toEqual({});
  const tar = randomBytes(2_000_000);
  expect((await gateway.ask('PUT', `${base}/tar?path=/t&owner=1`, { raw: tar })).json).toEqual({});
  const got = await gateway.ask('GET', `${base}/tar?path=/t`);
  expect(got.headers['content-type']).toBe('application/x-tar');
  expect(got.bytes.equals(tar)).toBe(true);
  expect(gateway.node.files.calls.map((call) => call['call'])).toEqual([
    'write',
    'list',
    'stat',
    'mkdir',
    'move',
    'chmod',
    'remove',
    'tar-write',
    'tar-read',
  ]);
  expect(gateway.node.files.calls[2]).toMatchObject({ follow: false });
});

test("a sandbox that stops reading stops the client's upload, not the gateway", async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  gateway.node.files.takeAtMost = 100_000;
  let sent = 0;
  async function* body() {
    for (let i = 0; i < 4_000; i++) {
      sent += 64 * 1024;
      yield Buffer.alloc(64 * 1024);
    }
  }
  const stop = new AbortController();
  const put = gateway.ask('PUT', at(id, '/f'), { raw: body(), signal: stop.signal });
  put.catch(() => undefined);
  // It settles when the figure is the same twice, a good while apart. Sockets hold a few megabytes, of 250.
  let before = -1;
  await gateway.until('the upload rests', () => {
    const rests = sent === before && sent > 0;
    before = sent;
    return rests;
  });
  expect(sent).toBeLessThan(100 * 1024 * 1024);
  stop.abort();
  await expect(put).rejects.toThrow();
});
