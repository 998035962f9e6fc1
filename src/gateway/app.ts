/** The HTTP server: error form, health, metrics, and the doors. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { ServiceError } from '../protocol/errors.ts';
import { newRequestId } from '../protocol/ids.ts';
import { MAX_JSON_BODY_BYTES } from '../protocol/limits.ts';
import type { GatewayConfig } from './config.ts';
import { registerDoor, type Door } from './doors/door.ts';
import { paceBursts } from './http/bursts.ts';
import { createErrorHandler, sendError, translate } from './http/errors.ts';
import { answerExpectations } from './http/expectations.ts';
import { assertOneHost, INCOMPLETE } from './http/headers.ts';
import { noteRequest, refuseInput } from './http/not-http.ts';
import { parseQuery } from './http/query.ts';
import { dropRestOfBody } from './http/rest-of-body.ts';
import { routable } from './http/sent-url.ts';
import { refuseUpgrade } from './http/upgrade.ts';
import { portOfHost } from './ports/tokens.ts';
import type { Services } from './services.ts';

/**
 * Far longer than clients and load balancers keep idle connections, so that the client closes first and no call hits a
 * closed one.
 */
const KEEP_ALIVE_MS = 610_000;
const HEADERS_TIMEOUT_MS = 60_000;
const MAX_PARAM_LENGTH = 300;

export async function buildApp(
  services: Services,
  config: GatewayConfig,
  doors: readonly Door[],
): Promise<FastifyInstance> {
  const app = createApp(config, doors);
  app.server.headersTimeout = HEADERS_TIMEOUT_MS;
  app.setErrorHandler(createErrorHandler(services.log));
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0];
    return sendError(reply, new ServiceError('not_found', `there is no ${request.method} ${path}`), request.id);
  });
  addHooks(app, services);
  paceBursts(app, services.bursts, ({ headers }) => services.auth.byHeader(headers.authorization).tenant);
  addProbes(app, services);
  for (const door of doors) await registerDoor(app, door, services, config);
  app.server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    // Until a door owns the socket, nobody else listens for its errors.
    socket.on('error', () => socket.destroy());
    try {
      request.url = routedUrl(request, config.previewDomain);
      assertOneHost(request);
      if (doors.some((door) => door.upgrade?.(request, socket, head))) return;
      throw new ServiceError('not_found');
    } catch (error) {
      refuseUpgrade(socket, ServiceError.from(error), newRequestId());
    }
  });
  answerExpectations(app.server);
  return app;
}

function createApp(config: GatewayConfig, doors: readonly Door[]): FastifyInstance {
  const foreign = doors.flatMap((door) => door.foreign ?? []);
  return fastify({
    logger: false,
    http: {
      // Clients that offer HTTP/2 with every request, as Java's does, are answered over HTTP/1.1.
      shouldUpgradeCallback: ({ headers }) => headers.upgrade?.toLowerCase() === 'websocket',
      // Node's own refusal has no body; the hook below answers with one.
      requireHostHeader: false,
    },
    genReqId: newRequestId,
    bodyLimit: MAX_JSON_BODY_BYTES,
    // Routes use no Fastify schemas; loading its two schema compilers would take a sixth of the start-up time.
    schemaController: { compilersFactory: { buildValidator: noSchemas, buildSerializer: noSchemas } },
    // `__proto__` is a key like any other: schemas decide where it may occur, and nothing is merged into existing
    // objects.
    onProtoPoisoning: 'ignore',
    keepAliveTimeout: KEEP_ALIVE_MS,
    // A call may take as long as its own deadline says.
    requestTimeout: 0,
    connectionTimeout: 0,
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH, ignoreTrailingSlash: false, querystringParser: parseQuery },
    exposeHeadRoutes: false,
    rewriteUrl: (request) =>
      routable(request as IncomingMessage, routedUrl(request as IncomingMessage, config.previewDomain), foreign),
    forceCloseConnections: true,
    return503OnClosing: false,
    frameworkErrors: (error, request, reply) => void sendError(reply as never, translate(error), request.id),
    clientErrorHandler: (error, socket) => refuseInput(error, socket),
  });
}

function noSchemas(): never {
  throw new Error('requests are checked by zod: a route here has no schema');
}

/** Hooks for every call, through any door. */
function addHooks(app: FastifyInstance, { lifecycle, unknownIds, metrics, sandboxes, ports }: Services): void {
  app.addHook('onRequest', (request, reply, next) => {
    noteRequest(request.raw);
    reply.header('x-request-id', request.id);
    reply.raw.once('close', lifecycle.track());
    const spared = lifecycle.onExpire(() => giveUp(request, reply));
    reply.raw.once('close', spared);
    assertOneHost(request.raw);
    next();
  });
  // Also for calls that were in progress when the shutdown began: the client's next one goes to another server.
  app.addHook('onSend', (request, reply, payload, next) => {
    dropRestOfBody(request, reply);
    if (lifecycle.draining) reply.header('connection', 'close');
    const { overview = false } = request.routeOptions.config;
    if (overview && reply.statusCode < 300 && !sandboxes.isSure) reply.header(INCOMPLETE, 'true');
    next(null, payload);
  });
  app.addHook('preHandler', (request, _reply, next) => {
    const { id } = (request.params ?? {}) as { id?: unknown };
    if (typeof id !== 'string' || !unknownIds.mayAppear(id)) return next();
    unknownIds.wait(id).then(() => next(), next);
  });
  app.addHook('preClose', (next) => {
    ports.close();
    next();
  });
  app.addHook('onResponse', (_request, reply, next) => {
    metrics.answered(reply.statusCode, reply.elapsedTime);
    next();
  });
}

/** For load balancers, some of which ask with HEAD, and Prometheus; no API key needed. */
function addProbes(app: FastifyInstance, { lifecycle, nodes, metrics }: Services): void {
  const probe = { exposeHeadRoute: true };
  app.get('/healthz', probe, () => ({ ok: true }));
  app.get('/readyz', probe, (request, reply) => {
    if (lifecycle.draining) return sendError(reply, new ServiceError('draining'), request.id);
    if (nodes.ready) return reply.send({ ready: true });
    return sendError(reply, new ServiceError('node_unavailable', 'no node is ready'), request.id);
  });
  app.get('/metrics', probe, async (_request, reply) => {
    const { registry } = metrics;
    return reply.type(registry.contentType).send(await registry.metrics());
  });
}

/**
 * The shutdown's deadline has passed. A call that is safe to repeat is told to use another gateway; the outcome of any
 * other is unknown.
 */
function giveUp(request: FastifyRequest, reply: FastifyReply): void {
  if (reply.sent || reply.raw.headersSent) return;
  const again = request.method === 'GET' || request.headers['idempotency-key'] !== undefined;
  void reply.send(new ServiceError(again ? 'draining' : 'interrupted'));
}

/** Path and query of a request; the host name of a sandbox's port is translated to the path of that port. */
function routedUrl(request: IncomingMessage, domain: string | null): string {
  const { url, headers } = inOriginForm(request);
  const port = domain === null ? undefined : portOfHost(headers.host, domain);
  return port === undefined ? url : `/v1/sandboxes/${port.sandbox}/ports/${port.port}${url}`;
}

/** The target may be in absolute form, as sent to proxies. Its host then replaces the Host header (RFC 9112, 3.2.2). */
function inOriginForm(request: IncomingMessage): { url: string; headers: IncomingMessage['headers'] } {
  const { url = '/', headers } = request;
  const [, host, rest = ''] = /^https?:\/\/([^/?#]*)(.*)$/i.exec(url) ?? [];
  if (host === undefined) return { url, headers };
  headers.host = host;
  return { url: rest.startsWith('/') ? rest : `/${rest}`, headers };
}
