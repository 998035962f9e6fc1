/** Files whose size changes while they are read. */
import { connect } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { afterEach, expect, test } from 'vitest';
import { Channel } from '../../protocol/frames.ts';
import { sendBytes } from '../streams/send.ts';
import { TestGateway } from '../testing/harness.ts';

/** Above this, the reported size of a file is believed. */
const MIB = 1024 * 1024;

let gateway: TestGateway;
afterEach(() => gateway[Symbol.asyncDispose]());

/** The address of a file that reports `announced` bytes and sends `sent` when it is read. */
async function fileOf(announced: number, sent: number): Promise<string> {
  gateway = await TestGateway.start();
  gateway.node.intercept = (stream) => {
    const { op, call, length } = stream.request;
    if (op !== 'file' || call !== 'read') return undefined;
    queueMicrotask(() => {
      stream.accept({ path: '/f', kind: 'file', sizeBytes: announced, mode: 0o644, uid: 0, gid: 0, modifiedAtMs: 0 });
      const bytes = Buffer.alloc(length === 0 ? 0 : sent, 'x');
      void sendBytes(stream, Channel.BYTES, bytes).then(() => stream.end());
    });
    return {};
  };
  return `/v1/sandboxes/${await gateway.sandbox()}/files?path=/f`;
}

test.each([
  ['as a whole', {}, 2 * MIB],
  ['in a range', { range: 'bytes=0-99' }, 100],
])('when a file shrinks while it is read %s, its answer is broken off', async (_how, headers, announced) => {
  const file = await fileOf(Math.max(announced, 2 * MIB), announced - 1);
  await expect(gateway.ask('GET', file, { headers })).rejects.toThrow();
});

test.each([
  ['as a whole', {}, 2 * MIB],
  ['in a range', { range: 'bytes=0-99' }, 100],
])('of a file that grows while it is read %s, only the announced bytes are sent', async (_how, headers, announced) => {
  const file = await fileOf(Math.max(announced, 2 * MIB), announced + 70_000);
  // Byte by byte: excess bytes would be taken for the next answer on the connection.
  const { port, hostname } = new URL(gateway.url);
  const socket = connect(Number(port), hostname);
  const lines = { authorization: 'Bearer key-of-the-tests', host: 'x', connection: 'close', ...headers };
  const head = Object.entries(lines).map((line) => `${line.join(': ')}\r\n`);
  socket.write(`GET ${file} HTTP/1.1\r\n${head.join('')}\r\n`);
  const answer = (await buffer(socket)).toString('latin1');
  expect(answer).toContain(`content-length: ${announced}\r\n`);
  expect(answer.length - answer.indexOf('\r\n\r\n') - 4).toBe(announced);
});
