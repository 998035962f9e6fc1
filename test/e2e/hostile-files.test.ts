/** Files left by programs in a sandbox never harm the sandbox, nor anyone who looks at them from outside. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Sandbox } from '../../src/sdk/index.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';

let stack: TestStack;
let sandbox: Sandbox;
beforeAll(async () => {
  stack = await startStack({ pool: 1 });
  sandbox = await stack.client.sandboxes.create({ timeoutMs: 3_600_000 });
});
afterAll(() => stack?.stop());

const get = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${stack.url}/v1/sandboxes/${sandbox.id}/files${path}`, {
    headers: { authorization: `Bearer ${stack.apiKey}`, ...headers },
  });

const FILL = `
import os
os.mkdir(b"/tmp/bytes"); os.mkdir(b"/tmp/links")
for i in range(1500):
    end = b"%05d" % i
    open(b"/tmp/bytes/" + b"\\xff" * 250 + end, "w").close()
    os.symlink(b"\\x01" * 4095, b"/tmp/links/" + b"\\x01" * 250 + end)
`;

test('a directory of the longest names and targets is listed to its end', async () => {
  await sandbox.exec(['python3', '-c', FILL], { check: true });
  for (const directory of ['/tmp/bytes', '/tmp/links']) {
    const entries = await sandbox.files.list(directory);
    expect(new Set(entries.map(({ name }) => name)).size).toBe(1500);
  }
  expect((await sandbox.exec('echo well', { check: true })).stdout).toBe('well\n');
});

test("a range of the kernel's own files, which report a size of zero", async () => {
  const whole = await (await get('?path=/proc/version')).text();
  const part = await get('?path=/proc/version', { range: 'bytes=2-5' });
  expect([part.status, await part.text()]).toEqual([206, whole.slice(2, 6)]);
  expect(part.headers.get('content-range')).toBe(`bytes 2-5/${whole.length}`);
});

test('an upload refused midway does not block the next request on its connection', async () => {
  const { hostname, port } = new URL(stack.url);
  const socket = connect(Number(port), hostname);
  const body = Buffer.alloc(3_000_000, 'x');
  const answers: string[] = [];
  socket.on('data', (bytes) => answers.push(bytes.toString('latin1')));
  socket.write(
    `PUT /v1/sandboxes/${sandbox.id}/files/tar?path=/tmp/no-tar HTTP/1.1\r\nhost: x\r\n` +
      `authorization: Bearer ${stack.apiKey}\r\ncontent-length: ${body.length}\r\n\r\n`,
  );
  socket.write(body);
  socket.end('GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
  await once(socket, 'close');
  const [first = '', second = ''] = answers.join('').split(/(?=HTTP\/1\.1 )/);
  expect(first).toMatch(/^HTTP\/1\.1 400 [^]*not a tar archive/);
  expect(second).toMatch(/^HTTP\/1\.1 200 /);
});
