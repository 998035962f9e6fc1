import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import type { ServiceError } from '../protocol/errors.ts';
import { NODE_SUBPROTOCOL } from '../protocol/node.ts';
import { acceptWs, createMux, dialNode } from './index.ts';

/** Programs that pretend to be an agent and do not hold the secret. */
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

async function pretend(asksForProof: boolean, heard: string[]): Promise<string> {
  const server = createServer();
  servers.push(server);
  server.on('upgrade', (request, socket, head) => {
    if (asksForProof && request.headers.authorization === undefined) {
      const body = JSON.stringify({ error: { details: { challenge: 'a-made-up-challenge' } } });
      socket.end(`HTTP/1.1 401 No\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`);
      return;
    }
    createMux({
      transport: acceptWs(request, socket, head, NODE_SUBPROTOCOL),
      role: 'listener',
      hello: { generation: 1, node: 'node', version: 'x', bootId: 'x', proof: 'p'.repeat(43) },
      onHello: () => undefined,
      onOpen: (stream) => {
        heard.push(JSON.stringify(stream.request));
        return {};
      },
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const options = { secret: 'a secret of some length', deadlineMs: 20_000 };

test('a peer that lets everybody in is not taken for an agent', async () => {
  const url = await pretend(false, []);
  await expect(dialNode(url, options)).rejects.toMatchObject({ code: 'unauthenticated' });
});

test('a peer that cannot prove the secret is told nothing', async () => {
  const heard: string[] = [];
  const { transport, checkHello } = await dialNode(await pretend(true, heard), options);
  const ended = Promise.withResolvers<ServiceError | null>();
  createMux({
    transport,
    role: 'dialler',
    hello: { generation: 1 },
    onHello: (hello) => void checkHello(hello),
    onClose: (error) => ended.resolve(error),
  });
  expect(await ended.promise).toMatchObject({ code: 'unauthenticated' });
  expect(heard).toEqual([]);
});
