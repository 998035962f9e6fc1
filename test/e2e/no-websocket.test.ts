/** The SDK in a network that blocks WebSockets: what it does over HTTP, and how it reports the rest. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Millibox, nameOfBytes, type Sandbox } from '../../src/sdk/index.ts';
import { running as runs } from '../helpers/sandbox.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { until } from '../helpers/until.ts';

const LIMIT_MS = 60_000;

let stack: TestStack;
let proxy: Server;
let client: Millibox;
let sandbox: Sandbox;
let upgrades = 0;
beforeAll(async () => {
  stack = await startStack({ pool: 1 });
  proxy = plainProxy(stack.url);
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  client = new Millibox({
    url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    apiKey: stack.apiKey,
  });
  sandbox = await client.sandboxes.create({ timeoutMs: 3_600_000 });
});
afterAll(async () => {
  await client?.close();
  proxy?.closeAllConnections();
  proxy?.close();
  await stack?.stop();
});

/** Forwards HTTP and refuses every upgrade, as some corporate proxies do. */
function plainProxy(target: string): Server {
  const server = createServer((incoming, outgoing) => {
    const { method, url = '/', headers } = incoming;
    const onward = request(new URL(url, target), { method: method ?? 'GET', headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
      answer.on('error', () => outgoing.destroy());
    });
    onward.on('error', () => outgoing.destroy());
    outgoing.on('close', () => onward.destroy());
    incoming.pipe(onward);
  });
  server.on('upgrade', (_request, socket) => {
    upgrades += 1;
    socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
  });
  return server;
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

test('commands run, with their stdin and complete result', async () => {
  const result = await sandbox.exec('cat; echo err >&2; exit 3', { stdin: 'in' });
  expect(result).toMatchObject({ exitCode: 3, stdout: 'in', stderr: 'err\n' });
  expect(upgrades).toBeGreaterThan(0);
});

test('a kill ends the command, although its outcome is not reported', async () => {
  const started = sandbox.exec('sleep 41294');
  await until(async () => (await runs(sandbox, 'sleep 41294')).length > 0, LIMIT_MS, 'the command to run');
  started.kill();
  await expect(started.result).rejects.toMatchObject({ code: 'cancelled' });
  await until(async () => (await runs(sandbox, 'sleep 41294')).length === 0, LIMIT_MS, 'the command to end');
});

test('files are written and read, of any size, in ranges and in streams', async () => {
  const bytes = randomBytes(5_000_001);
  expect(await sandbox.files.write('/tmp/a/b', bytes, { mode: 0o640, owner: '5:6' })).toMatchObject({
    sizeBytes: bytes.length,
    mode: 0o640,
    uid: 5,
  });
  expect(sha256(await sandbox.files.read('/tmp/a/b'))).toBe(sha256(bytes));
  const part = await sandbox.files.read('/tmp/a/b', { offset: 1_000_000, length: 77 });
  expect(part.equals(bytes.subarray(1_000_000, 1_000_077))).toBe(true);
  expect((await sandbox.files.read('/tmp/a/b', { offset: bytes.length })).length).toBe(0);
  async function* pieces() {
    for (let i = 0; i < 100; i++) yield randomBytes(10_000);
  }
  expect((await sandbox.files.writeStream('/tmp/streamed', pieces())).sizeBytes).toBe(1_000_000);
  await sandbox.files.write('/tmp/streamed', 'more', { append: true });
  expect((await sandbox.files.stat('/tmp/streamed')).sizeBytes).toBe(1_000_004);
});

test('names, directories, moves, modes and trees', async () => {
  const name = 'a b+c%20d?e#f&g=é😀.txt';
  await sandbox.files.mkdir('/tmp/d/e');
  await sandbox.files.write(`/tmp/d/e/${name}`, 'x');
  expect((await sandbox.files.list('/tmp/d/e')).map((entry) => entry.name)).toEqual([name]);
  await sandbox.files.move(`/tmp/d/e/${name}`, '/tmp/d/moved');
  await sandbox.files.chmod('/tmp/d/moved', { mode: 0o600 });
  expect((await sandbox.files.stat('/tmp/d/moved')).mode & 0o777).toBe(0o600);
  await sandbox.files.uploadTar('/tmp/copy', sandbox.files.downloadTar('/tmp/d'));
  expect(await sandbox.files.readText('/tmp/copy/moved')).toBe('x');
  await sandbox.files.remove('/tmp/d', { recursive: true });
  expect(await sandbox.files.exists('/tmp/d')).toBe(false);
  await expect(sandbox.files.read('/no/such')).rejects.toMatchObject({ code: 'file_not_found' });
});

test('names that are not UTF-8', async () => {
  const name = nameOfBytes(Buffer.from([0xff, 0x2b, 0x25, 0xc3]));
  await sandbox.files.write(`/tmp/bytes/${name}`, 'x');
  expect((await sandbox.files.list('/tmp/bytes')).map((entry) => entry.name)).toEqual([name]);
  await sandbox.files.move(`/tmp/bytes/${name}`, '/tmp/bytes/\udcfe');
  const { stdout } = await sandbox.exec('ls -b /tmp/bytes');
  expect(stdout).toBe('\\376\n');
  expect(await sandbox.files.readText('/tmp/bytes/\udcfe')).toBe('x');
  await expect(sandbox.files.read('/tmp/\ud800')).rejects.toMatchObject({ code: 'invalid_request' });
});

test('jobs are started, followed and ended', async () => {
  const job = await sandbox.jobs.start('echo one; sleep 0.2; echo two >&2; exit 4');
  const seen: string[] = [];
  for await (const event of job.follow()) {
    seen.push(event.type === 'exit' ? `exit ${event.exitCode}` : 'data' in event ? event.data.toString() : '?');
  }
  expect(seen).toEqual(['one\n', 'two\n', 'exit 4']);
});

test('operations that need a WebSocket report that, and why there is none', async () => {
  const why = { code: 'not_supported', message: expect.stringMatching(/needs a WebSocket.*400/) as unknown };
  const pty = sandbox.pty();
  await expect(pty.exit).rejects.toMatchObject(why);
  await expect(sandbox.ports.connect(80)).rejects.toMatchObject(why);
  await expect(sandbox.files.watch('/tmp').next()).rejects.toMatchObject(why);
  await expect(sandbox.attach('exe-01234567890123456789').result).rejects.toMatchObject(why);
});
