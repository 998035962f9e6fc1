/** Answers that are too large: a server mistaken for a gateway may send for ever. */
import { createServer, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test, vi } from 'vitest';
import { Endpoints } from './endpoints.ts';
import { HttpClient } from './http.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

/** A client of a server that answers with this status, and sends until the client hangs up. */
async function clientOfEndless(status: number) {
  const hungUp = Promise.withResolvers<void>();
  const piece = Buffer.alloc(64 * 1024, ' ');
  const send = (response: ServerResponse): void => {
    while (!response.destroyed && response.write(piece));
  };
  const server = createServer((_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.on('drain', () => send(response));
    response.on('close', hungUp.resolve);
    send(response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const endpoints = new Endpoints([`http://127.0.0.1:${(server.address() as AddressInfo).port}`]);
  const maxAnswerBytes = 2 * 1024 * 1024;
  const client = new HttpClient({ endpoints, apiKey: undefined, userAgent: 'test', maxAnswerBytes });
  onTestFinished(async () => {
    await client.close();
    server.closeAllConnections();
    server.close();
  });
  return { client, hungUp: hungUp.promise };
}

test.each(['json', 'bytes'] as const)('an answer without end is not gathered in memory: %s', async (read) => {
  const { client, hungUp } = await clientOfEndless(200);
  const call = client[read]({ method: 'GET', path: '/' });
  await expect(call).rejects.toMatchObject({
    code: 'protocol_error',
    message: expect.stringContaining('larger than') as string,
  });
  await hungUp;
});

test('a refusal with an endless text is reported by its status', async () => {
  const { client, hungUp } = await clientOfEndless(403);
  await expect(client.json({ method: 'GET', path: '/' })).rejects.toMatchObject({ code: 'forbidden' });
  await hungUp;
});
