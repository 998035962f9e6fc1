/** A client that sends its whole body before it reads finds the error there, not a connection that was reset. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KEY, TestGateway } from '../testing/harness.ts';

const MIB = 1024 * 1024;
const CHUNK = Buffer.alloc(MIB, 'x');
let gateway: TestGateway;
beforeAll(async () => {
  gateway = await TestGateway.start();
});
afterAll(() => gateway[Symbol.asyncDispose]());

interface Sending {
  path: string;
  key?: string;
  type?: string;
  chunked: boolean;
  mib: number;
}

/** Sends all, then reads until the end of a first answer. @throws the socket's error */
async function sendAndRead({ path, key = KEY, type = 'application/json', chunked, mib }: Sending): Promise<string> {
  const { hostname, port } = new URL(gateway.url);
  const socket = connect(Number(port), hostname);
  try {
    socket.write(
      [
        `POST ${path} HTTP/1.1`,
        `host: ${hostname}`,
        `authorization: Bearer ${key.replaceAll(' ', '-')}`,
        `content-type: ${type}`,
        chunked ? 'transfer-encoding: chunked' : `content-length: ${mib * MIB}`,
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

test.each([false, true])('and so is one of a type that is not taken (chunked: %s)', async (chunked) => {
  const answer = await sendAndRead({ path: EXEC, type: 'application/x-tar', chunked, mib: 60 });
  expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  expect(answer).toContain('"code":"invalid_request"');
});

test.each([false, true])('and so is one of nobody with a key (chunked: %s)', async (chunked) => {
  expect(await sendAndRead({ path: EXEC, key: 'wrong', chunked, mib: 60 })).toMatch(/^HTTP\/1\.1 401 /);
});

test('a body without end is not read for ever', async () => {
  await expect(sendAndRead({ path: EXEC, chunked: true, mib: 1_000 })).rejects.toMatchObject({
    code: expect.stringMatching(/^(ECONNRESET|EPIPE)$/),
  });
});
