/** A client that sends its whole body before it reads gets the error, not a connection reset. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { KEY, TestGateway } from '../testing/harness.ts';

const MIB = 1024 * 1024;
const CHUNK = Buffer.alloc(MIB, 'x');
let gateway: TestGateway;
beforeAll(async () => {
  gateway = await TestGateway.start();
});
afterAll(() => gateway[Symbol.asyncDispose]());
afterEach(() => vi.restoreAllMocks());

interface Sending {
  method?: string;
  path: string;
  key?: string;
  type?: string;
  chunked: boolean;
  mib: number;
  to?: string;
  /** Further headers. */
  more?: string[];
}

/** Sends everything, then reads to the end of the first answer. @throws the socket's error */
async function sendAndRead(sending: Sending): Promise<string> {
  const {
    method = 'POST',
    path,
    key = KEY,
    type = 'application/json',
    chunked,
    mib,
    to = gateway.url,
    more = [],
  } = sending;
  const { hostname, port } = new URL(to);
  const socket = connect(Number(port), hostname);
  try {
    socket.write(
      [
        `${method} ${path} HTTP/1.1`,
        `host: ${hostname}`,
        `authorization: Bearer ${key.replaceAll(' ', '-')}`,
        `content-type: ${type}`,
        chunked ? 'transfer-encoding: chunked' : `content-length: ${mib * MIB}`,
        ...more,
        '\r\n',
      ].join('\r\n'),
    );
    for (let sent = 0; sent < mib; sent++) {
      if (chunked) socket.write(`${MIB.toString(16)}\r\n`);
      const drained = socket.write(CHUNK);
      if (chunked) socket.write('\r\n');
      if (!drained) await once(socket, 'drain');
    }
    if (chunked) socket.write('0\r\n\r\n');
    let answer = '';
    for await (const bytes of socket) {
      answer += (bytes as Buffer).toString();
      if (answer.endsWith('}}')) break;
    }
    return answer;
  } finally {
    socket.destroy();
  }
}

const UPLOAD = { method: 'PUT', path: '/v1/sandboxes/sbx-0123/files?path=/f', type: 'application/octet-stream' };
const EXEC = '/v1/sandboxes/sbx-0123/exec';

test.each([
  ['/v1/sandboxes', false],
  ['/v1/sandboxes', true],
  [EXEC, false],
  [EXEC, true],
  ['/v1/sandboxes/sbx-0123/files/mkdir', true],
])('a body far over the limit is answered with 413 at %s (chunked: %s)', async (path, chunked) => {
  const answer = await sendAndRead({ path, chunked, mib: 60 });
  expect(answer).toMatch(/^HTTP\/1\.1 413 /);
  expect(answer).toContain('"code":"body_too_large"');
});

test.each([false, true])('and so is one of an unsupported type (chunked: %s)', async (chunked) => {
  const answer = await sendAndRead({ path: EXEC, type: 'application/x-tar', chunked, mib: 60 });
  expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  expect(answer).toContain('"code":"invalid_request"');
});

test.each([false, true])('and so is one without a valid key (chunked: %s)', async (chunked) => {
  expect(await sendAndRead({ path: EXEC, key: 'wrong', chunked, mib: 60 })).toMatch(/^HTTP\/1\.1 401 /);
});

test.each([
  ['to a command', { path: EXEC }],
  ['to a file of nobody with a key', { ...UPLOAD, key: 'wrong' }],
  ['to a file of no sandbox', UPLOAD],
])('a body without end is not read for ever: %s', async (_where, sending) => {
  await expect(sendAndRead({ ...sending, chunked: true, mib: 1_000 })).rejects.toMatchObject({
    code: expect.stringMatching(/^(ECONNRESET|EPIPE)$/),
  });
});

test('a refused upload is answered at once, and its connection can be used again', async () => {
  const { hostname, port } = new URL(gateway.url);
  const socket = connect(Number(port), hostname);
  const head = `host: ${hostname}\r\nauthorization: Bearer ${KEY.replaceAll(' ', '-')}`;
  let received = '';
  const answers = Promise.withResolvers<void>();
  const first = Promise.withResolvers<void>();
  socket.on('data', (bytes: Buffer) => {
    received += bytes.toString();
    if (received.endsWith('}}')) first.resolve();
    if (received.includes('"tenant"')) answers.resolve();
  });
  socket.on('close', () => answers.reject(new Error(`closed behind ${received}`)));
  try {
    socket.write(`PUT ${UPLOAD.path} HTTP/1.1\r\n${head}\r\ncontent-length: ${2 * MIB}\r\n\r\n`);
    socket.write(CHUNK);
    await first.promise;
    expect(received).toMatch(/^HTTP\/1\.1 404 /);
    socket.write(CHUNK);
    socket.write(`GET /v1/tenant HTTP/1.1\r\n${head}\r\n\r\n`);
    await answers.promise;
  } finally {
    socket.destroy();
  }
});

test.each([
  ['a file', UPLOAD, 404],
  ['a file of nobody with a key', { ...UPLOAD, key: 'wrong' }, 401],
  ['a command', { path: EXEC }, 413],
])('a client that asks for the connection to close is still told why %s is refused', async (_what, sending, status) => {
  const answer = await sendAndRead({ ...sending, chunked: false, mib: 60, more: ['connection: close'] });
  expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
});

test.each([
  ['a file', UPLOAD, 503],
  ['a file of nobody with a key', { ...UPLOAD, key: 'wrong' }, 401],
  ['a command', { path: EXEC }, 413],
])('so is, during a shutdown, a client that sends %s', async (_what, sending, status) => {
  await using closing = await TestGateway.start();
  const { lifecycle } = closing.services;
  const release = lifecycle.track();
  const drained = lifecycle.drain(20_000);
  const answer = await sendAndRead({ ...sending, to: closing.url, chunked: false, mib: 60 });
  expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  expect(answer).toMatch(/^connection: close/im);
  release();
  await drained;
});

test('nothing remains of a client that reads its answer and never sends its body', async () => {
  const { hostname, port } = new URL(gateway.url);
  const clear = vi.spyOn(globalThis, 'clearInterval');
  const begin = vi.spyOn(globalThis, 'setInterval');
  const running = (): number => {
    const cleared = new Set(clear.mock.calls.map(([timer]) => timer));
    return begin.mock.results.filter(({ value }) => !cleared.has(value)).length;
  };
  const sockets = Array.from({ length: 3 }, () => connect(Number(port), hostname));
  try {
    for (const socket of sockets) socket.write(`GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n`);
    await Promise.all(sockets.map((socket) => once(socket, 'data')));
    await expect.poll(running).toBe(sockets.length);
  } finally {
    for (const socket of sockets) socket.destroy();
  }
  await expect.poll(running).toBe(0);
});
