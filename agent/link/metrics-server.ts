/** A port that serves /metrics, and nothing else, to other machines. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from '../../src/lib/logger.ts';
import { closeServer, listen } from '../listen.ts';

const REQUEST_MS = 10_000;
const MAX_CONNECTIONS = 64;

export interface MetricsServer {
  readonly port: number;
  close(): Promise<void>;
}

/** @throws the error of `listen`. */
export async function serveMetrics(
  where: { host: string; port: number },
  text: () => Promise<string>,
  log: Logger,
): Promise<MetricsServer> {
  const server: Server = createServer(
    { headersTimeout: REQUEST_MS, requestTimeout: REQUEST_MS },
    (request, response) => {
      if (!isMetricsRequest(request)) {
        response.writeHead(404, { connection: 'close' }).end();
        return;
      }
      writeMetrics(response, text).catch((error: unknown) => {
        log.error({ err: error }, 'cannot serve /metrics');
        response.destroy();
      });
    },
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.on('clientError', (_error, socket) => socket.destroy());
  await listen(server, where);
  server.on('error', (error) => log.error({ err: error }, 'metrics port error'));
  return { port: (server.address() as AddressInfo).port, close: () => closeServer(server) };
}

/** Not parsed as a URL: a peer may send anything. */
export const pathOf = (request: IncomingMessage): string => (request.url ?? '').split('?', 1)[0] ?? '';

export const isMetricsRequest = (request: IncomingMessage): boolean =>
  request.method === 'GET' && pathOf(request) === '/metrics';

/** Rejects as `text` does, without having written anything. */
export async function writeMetrics(response: ServerResponse, text: () => Promise<string>): Promise<void> {
  const body = await text();
  response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(body);
}
