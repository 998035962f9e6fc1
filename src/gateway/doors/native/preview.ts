/**
 * `/v1/sandboxes/{id}/ports/{port}/…`: HTTP and WebSocket to a server inside a sandbox. The key of the API opens it, as
 * bearer or as `x-millibox-key`, which leaves `Authorization` to the server inside; neither key reaches the sandbox.
 */
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream';
import type { Duplex, Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { ServiceError } from '../../../protocol/errors.ts';
import { newRequestId } from '../../../protocol/ids.ts';
import type { Caller } from '../../auth/auth.ts';
import { refuseUpgrade } from '../../http/upgrade.ts';
import type { Services } from '../../services.ts';

const KEY_HEADER = 'x-millibox-key';
const PATH = /^\/v1\/sandboxes\/([a-z0-9-]{1,64})\/ports\/(\d{1,5})(\/[^?]*)?(\?.*)?$/;
/** These speak of one connection, not of the message. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

interface Target {
  sandbox: string;
  port: number;
  path: string;
}

export function registerPreview(
  app: FastifyInstance,
  services: Services,
): {
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean;
} {
  const handler = (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => forward(services, request, reply);
  for (const url of ['/v1/sandboxes/:id/ports/:port', '/v1/sandboxes/:id/ports/:port/*']) {
    app.all(url, { onRequest: async (request) => void authenticate(services, request.headers) }, handler);
  }
  return { upgrade: (request, socket, head) => upgrade(services, request, socket, head) };
}

function authenticate(services: Services, headers: IncomingHttpHeaders): Caller {
  const own = headers[KEY_HEADER];
  return typeof own === 'string' ? services.auth.byKey(own) : services.auth.byHeader(headers.authorization);
}

function targetOf(url: string | undefined): Target | null {
  const match = PATH.exec(url ?? '');
  if (match === null) return null;
  const port = Number(match[2]);
  if (port < 1 || port > 65_535) throw new ServiceError('invalid_request', 'a port is between 1 and 65535');
  return { sandbox: match[1] ?? '', port, path: `${match[3] ?? '/'}${match[4] ?? ''}` };
}

/** Without what is for us or for the connection to us. */
function headersFor(headers: IncomingHttpHeaders, target: Target): Record<string, string | string[]> {
  const kept: Record<string, string | string[]> = {};
  const dropped = new Set([...(headers.connection ?? '').toLowerCase().split(/\s*,\s*/), ...HOP_BY_HOP]);
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || dropped.has(name) || name === KEY_HEADER || name === 'host') continue;
    if (name === 'authorization' && headers[KEY_HEADER] === undefined) continue;
    kept[name] = value;
  }
  kept['host'] = `localhost:${target.port}`;
  kept['x-forwarded-host'] = headers.host ?? '';
  return kept;
}

async function forward(services: Services, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  const target = targetOf(request.raw.url);
  if (target === null) throw new ServiceError('not_found');
  const { tenant } = authenticate(services, request.headers);
  const gone = new AbortController();
  reply.raw.once('close', () => gone.abort(new ServiceError('cancelled')));
  const socket = await services.ports.connect(tenant, target.sandbox, target.port, gone.signal);
  gone.signal.addEventListener('abort', () => socket.destroy(), { once: true });
  const answered = Promise.withResolvers<IncomingMessage>();
  const headers = headersFor(request.headers, target);
  const outgoing = httpRequest({
    createConnection: () => socket,
    method: request.method,
    path: target.path,
    headers: { ...headers, connection: 'close' },
  });
  outgoing.once('response', (response) => answered.resolve(response));
  outgoing.once('error', (error) => answered.reject(error));
  const body = request.body as Readable | undefined;
  if (body === undefined) outgoing.end();
  else pipeline(body, outgoing, () => undefined);
  let response: IncomingMessage;
  try {
    response = await answered.promise;
  } catch (error) {
    socket.destroy();
    throw error instanceof ServiceError
      ? error
      : new ServiceError('port_refused', 'What listens there does not speak HTTP.', { cause: error });
  }
  reply.code(response.statusCode ?? 502);
  for (const [name, value] of Object.entries(response.headers)) {
    if (value !== undefined && !HOP_BY_HOP.has(name)) reply.header(name, value);
  }
  return reply.send(response);
}

function upgrade(services: Services, request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
  if (!PATH.test(request.url ?? '')) return false;
  socket.on('error', () => socket.destroy());
  tunnel(services, request, socket, head).catch((error: unknown) => {
    refuseUpgrade(socket, ServiceError.from(error), newRequestId());
  });
  return true;
}

async function tunnel(services: Services, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
  const target = targetOf(request.url);
  if (target === null) throw new ServiceError('not_found');
  const { tenant } = authenticate(services, request.headers);
  const inside = await services.ports.connect(tenant, target.sandbox, target.port);
  const lines = [`GET ${target.path} HTTP/1.1`];
  const headers = {
    ...headersFor(request.headers, target),
    connection: 'Upgrade',
    upgrade: request.headers.upgrade ?? 'websocket',
  };
  for (const [name, value] of Object.entries(headers)) {
    for (const one of [value].flat()) lines.push(`${name}: ${one}`);
  }
  inside.write(`${lines.join('\r\n')}\r\n\r\n`);
  if (head.length > 0) inside.write(head);
  // The answer to the upgrade, and all after it, comes from inside as it is.
  pipeline(inside, socket, () => undefined);
  pipeline(socket, inside, () => undefined);
}
