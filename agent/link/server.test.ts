/** The agent's port, and the peers that connect to it. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, test } from 'vitest';
import { gatewayAuthorization } from '../../src/lib/node-auth.ts';
import { dialNode, dialWs, type UpgradeRefused } from '../../src/mux/index.ts';
import { NODE_PATH, NODE_SUBPROTOCOL } from '../../src/protocol/node.ts';
import { Harness, SECRET } from '../testing/harness.ts';
import { NodeClient } from '../testing/node-client.ts';

test('/healthz shows that the agent is serving, and nothing more', async () => {
  await using h = await Harness.fake();
  const answer = await fetch(`http://127.0.0.1:${h.agent.port}/healthz`);
  expect([answer.status, await answer.text()]).toEqual([200, 'ok\n']);
  expect((await fetch(`http://127.0.0.1:${h.agent.port}/`)).status).toBe(404);
});

test('a peer without the secret gets no further than the challenge', async () => {
  await using h = await Harness.fake();
  const url = `ws://127.0.0.1:${h.agent.port}`;
  const wrong = dialNode(url, { secret: 'a wrong secret, and long', deadlineMs: 10_000 });
  await expect(wrong).rejects.toMatchObject({ code: 'unauthenticated' });
  const bare = { subprotocol: NODE_SUBPROTOCOL, deadlineMs: 10_000 };
  await expect(dialWs(`${url}${NODE_PATH}`, bare)).rejects.toMatchObject({ status: 401 });
});

test('an authorization works once, and only for a challenge from this agent', async () => {
  await using h = await Harness.fake();
  const url = `ws://127.0.0.1:${h.agent.port}${NODE_PATH}`;
  const dial = (authorization: string): ReturnType<typeof dialWs> =>
    dialWs(url, { subprotocol: NODE_SUBPROTOCOL, deadlineMs: 10_000, headers: { authorization } });
  const refusal = await dialWs(url, { subprotocol: NODE_SUBPROTOCOL, deadlineMs: 10_000 }).catch(
    (error: unknown) => error,
  );
  const body = JSON.parse((refusal as UpgradeRefused).body) as { error: { details: { challenge: string } } };
  const header = gatewayAuthorization(SECRET, body.error.details.challenge, 'n'.repeat(32));
  (await dial(header)).close();
  await expect(dial(header)).rejects.toMatchObject({ status: 401 });
  await expect(dial(gatewayAuthorization(SECRET, 'made-up-challenge', 'n'.repeat(32)))).rejects.toMatchObject({
    status: 401,
  });
});

test('garbage on the port disturbs no other connection', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  const upgrade = (path: string): string =>
    `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`;
  const rubbish = [
    upgrade('//'),
    upgrade('http://[:::'),
    upgrade('/v1/node/../x'),
    'GET // HTTP/1.1\r\nHost: x\r\n\r\n',
    '\0\x01\xff\r\n\r\n',
  ];
  for (const text of rubbish) {
    const socket = connect(h.agent.port, '127.0.0.1');
    socket.on('error', () => undefined).resume();
    socket.end(text, 'latin1');
    await once(socket, 'close');
  }
  const link = await NodeClient.dial(h.agent.port, SECRET);
  link.mux.open({ op: 'watch' }, {});
  await link[Symbol.asyncDispose]();
  expect((await h.client.exec(id, { argv: ['true'] })).exit.exitCode).toBe(0);
});
