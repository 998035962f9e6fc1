/** Peers that the agent's port refuses. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { silent } from '../../src/lib/logger.ts';
import { NODE_PATH } from '../../src/protocol/node.ts';
import { serveNode } from './server.ts';

test('a refused client that does not hang up is disconnected', async () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'mbx-'));
  const server = await serveNode({
    listen: { host: '127.0.0.1', port: 0 },
    socketFile: path.join(directory, 'node.sock'),
    secret: 'a secret of some length',
    node: 'node',
    version: '1',
    bootId: 'boot',
    log: silent,
    heartbeat: { intervalMs: 1_000, deadAfterMs: 5_000 },
    onStream: () => ({}),
    metrics: () => Promise.resolve(''),
  });
  // Reads the answer and its FIN, and keeps its own half of the connection open.
  const socket = connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => undefined);
  let answer = '';
  socket.on('data', (bytes) => (answer += bytes.toString()));
  socket.write(`GET ${NODE_PATH} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await once(socket, 'end');
  expect(answer).toMatch(/^HTTP\/1\.1 401 /);
  // Only a write reveals that the peer is gone.
  const words = setInterval(() => socket.write('x'), 50);
  await closed;
  clearInterval(words);
  await server.close();
  rmSync(directory, { recursive: true });
});
