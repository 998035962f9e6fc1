import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { inspect } from 'node:util';
import { afterEach, expect, test } from 'vitest';
import { checkGatewayAuthorization } from '../lib/node-auth.ts';
import type { ServiceError } from '../protocol/errors.ts';
import { NODE_SUBPROTOCOL } from '../protocol/node.ts';
import { acceptWs, createMux, dialNode } from './index.ts';

const CHALLENGE = JSON.stringify({ error: { details: { challenge: 'a-made-up-challenge' } } });

function refuse(socket: Duplex, status: number, body: string): void {
  socket.end(`HTTP/1.1 ${status} No\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`);
}

/** Programs that impersonate an agent and do not hold the secret. */
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

async function serve(upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void): Promise<string> {
  const server = createServer();
  servers.push(server);
  server.on('upgrade', upgrade);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function pretend(asksForProof: boolean, heard: string[]): Promise<string> {
  return await serve((request, socket, head) => {
    if (asksForProof && request.headers.authorization === undefined) return refuse(socket, 401, CHALLENGE);
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
}

const options = { secret: 'a secret of some length', deadlineMs: 20_000 };

test('a peer that lets everybody in is not taken for an agent', async () => {
  const url = await pretend(false, []);
  await expect(dialNode(url, options)).rejects.toMatchObject({ code: 'unauthenticated' });
});

test('a peer that cannot prove the secret is sent nothing', async () => {
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

test.for([
  { what: 'a proof that is refused', first: 401, second: 401, code: 'unauthenticated' },
  { what: 'an agent that stops', first: 401, second: 503, code: 'node_unavailable' },
  { what: 'a 401 of something else', first: 401, firstBody: 'a foreign page', second: 0, code: 'unauthenticated' },
  { what: 'an answer of something else', first: 404, firstBody: 'a foreign page', second: 0, code: 'node_unavailable' },
])('$what has an error code, and what the peer sent appears in no log', async ({ first, firstBody, second, code }) => {
  const url = await serve((request, socket) => {
    if (request.headers.authorization === undefined) refuse(socket, first, firstBody ?? CHALLENGE);
    else refuse(socket, second, 'a foreign page');
  });
  const error = await dialNode(url, options).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code });
  expect(inspect(error, { depth: 9, showHidden: true }) + JSON.stringify(error)).not.toContain('foreign page');
});

test('an agent that was replaced between the two requests gets a second proof', async () => {
  const challenges = ['of-the-one-before', 'of-the-new-one'];
  const proofs: string[] = [];
  const url = await serve((request, socket, head) => {
    const { authorization = '' } = request.headers;
    if (authorization !== '') proofs.push(authorization);
    if (checkGatewayAuthorization(options.secret, authorization)?.challenge === 'of-the-new-one') {
      return acceptWs(request, socket, head, NODE_SUBPROTOCOL).close();
    }
    const challenge = challenges.shift();
    refuse(socket, 401, JSON.stringify({ error: { details: { challenge } } }));
  });
  const { transport } = await dialNode(url, options);
  transport.close();
  expect(proofs).toHaveLength(2);
});

test('a proof is repeated once, whatever is asked for then', async () => {
  let asked = 0;
  const url = await serve((_request, socket) => {
    asked += 1;
    refuse(socket, 401, CHALLENGE.replace('made-up', `made-up-${asked}`));
  });
  await expect(dialNode(url, options)).rejects.toMatchObject({ code: 'unauthenticated' });
  expect(asked).toBe(3);
});
