/** The service as plain HTTP, with answers given by a test. */
import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { Millibox, type MilliboxOptions } from '../client.ts';
import { sandboxInfo } from './sandbox-info.ts';

interface Request {
  method: string;
  url: URL;
  key: string | undefined;
  auth: string | undefined;
  body: Record<string, unknown> | undefined;
}
type Answer = { status?: number; body?: unknown; headers?: Record<string, string> } | 'hang up';

/**
 * A client of a service whose answers a test gives; both end with the current test. `n` counts the requests from 1.
 * @param upgrade the answer to those that ask for a WebSocket, which count as none
 */
export async function service(
  answer: (request: Request, n: number) => Answer | Promise<Answer>,
  { upgrade = { status: 404 }, ...options }: MilliboxOptions & { upgrade?: Answer } = {},
) {
  const requests: Request[] = [];
  const server = http.createServer((request, response) => void handle(request, response));
  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const seen: Request = {
      method: request.method ?? '',
      url: new URL(request.url ?? '/', 'http://x'),
      key: request.headers['idempotency-key'] as string | undefined,
      auth: request.headers.authorization,
      body: text === '' ? undefined : (JSON.parse(text) as Record<string, unknown>),
    };
    const isUpgrade = request.headers.upgrade !== undefined;
    if (!isUpgrade) requests.push(seen);
    const answered = isUpgrade ? upgrade : await answer(seen, requests.length);
    if (answered === 'hang up') return void request.socket.destroy();
    response.writeHead(answered.status ?? 200, { 'content-type': 'application/json', ...answered.headers });
    response.end(JSON.stringify(answered.body ?? {}));
  }
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const client = new Millibox({ url, apiKey: 'k1', ...options });
  onTestFinished(async () => {
    await client.close();
    server.closeAllConnections();
    server.close();
  });
  return { client, requests };
}

export const info = (id: string, status = 'RUNNING', more: object = {}) => sandboxInfo(id, { status, ...more });
