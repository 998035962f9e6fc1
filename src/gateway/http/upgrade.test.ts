import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestGateway } from '../testing/harness.ts';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await TestGateway.start();
});
afterAll(() => gateway[Symbol.asyncDispose]());

test.each([
  ['/v1/ws', 401],
  ['/v1/sandboxes/sbx-0/ports/80/', 401],
  ['/nowhere', 404],
])('a client that is refused an upgrade and does not hang up is disconnected: %s', async (path, status) => {
  const { port, hostname } = new URL(gateway.url);
  // It takes the answer and its end, and keeps its own side of the connection open.
  const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true });
  socket.on('error', () => undefined);
  let answer = '';
  socket.on('data', (bytes) => (answer += bytes.toString()));
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await once(socket, 'end');
  expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  expect(JSON.parse(answer.slice(answer.indexOf('{'))).error.code).toBeTypeOf('string');
  // Only a writer notices that nobody is there any more.
  const words = setInterval(() => socket.write('x'), 50);
  await closed;
  clearInterval(words);
});
