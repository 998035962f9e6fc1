/** A port that serves /metrics to other machines, and nothing else. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from '../../src/lib/logger.ts';
import { bound, ended } from '../listen.ts';

const REQUEST_MS = 10_000;
const MAX_CONNECTIONS = 64;

export interface MetricsServer {
  readonly port: number;
  close(): Promise<void>;
}

/** @throws the error of `listen`. */
export async function serveMetrics(
  listen: { host: string; port: number },
  text: () => Promise<string>,
  log: Logger,
): Promise<MetricsServer> {
  const server: Server = createServer(
    { headersTimeout: REQUEST_MS, requestTimeout: REQUEST_MS },
    (request, response) => {
      if (!asksForNumbers(request)) {
        response.writeHead(404, { connection: 'close' }).end();
        return;
      }
      tellNumbers(response, text).catch((error: unknown) => {
        log.error({ err: error }, 'the numbers of the agent cannot be told');
        response.destroy();
      });
    },
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.on('clientError', (_error, socket) => socket.destroy());
  await bound(server, listen);
  server.on('error', (error) => log.error({ err: error }, "the port of the agent's numbers"));
  return { port: (server.address() as AddressInfo).port, close: () => ended(server) };
}

/** Not parsed as a URL: a peer may send anything. */
export const pathOf = (request: IncomingMessage): string => (request.url ?? '').split('?', 1)[0] ?? '';

export const asksForNumbers = (request: IncomingMessage): boolean =>
  request.method === 'GET' && pathOf(request) === '/metrics';

/** Rejects as `text` does, with nothing written. */
export async function tellNumbers(response: ServerResponse, text: () => Promise<string>): Promise<void> {
  const body = await text();
  response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(body);
}
