/**
 * `/v1/sandboxes/{id}/ports/{port}/…`, or `{port}-{id}.DOMAIN/…`: HTTP and WebSocket to a server inside a sandbox. It
 * takes an API key, or a token that was issued for this port; neither is forwarded to the server inside.
 */
import { METHODS, request as httpRequest, type IncomingMessage } from 'node:http';
import { pipeline, Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import * as z from 'zod';
import { ServiceError } from '../../../protocol/errors.ts';
import { MAX_TIMEOUT_MS } from '../../../protocol/limits.ts';
import { isEnded } from '../../../protocol/sandbox.ts';
import { bodyOf } from '../../http/body.ts';
import { onClosed } from '../../http/client-gone.ts';
import { route, type Route } from '../../http/route.ts';
import { sentUrl } from '../../http/sent-url.ts';
import type { Services } from '../../services.ts';
import { authenticate, headersFor, targetOf, TOKEN_NAME, tokenCookie } from './preview-access.ts';
import { answerHeaders, baseOf, type Base } from './preview-answer.ts';
import { SandboxPath } from './sandbox-routes.ts';

/** Methods by which nothing changes (RFC 9110, 9.2.1). */
const READS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);
const DEFAULT_TOKEN_MS = 3_600_000;
const PreviewBody = z.strictObject({
  port: z.int().min(1).max(65_535),
  expiresInMs: z.int().min(1).max(MAX_TIMEOUT_MS).default(DEFAULT_TOKEN_MS),
});
const Preview = z.object({ url: z.string(), token: z.string(), expiresAt: z.string() });

export function previewRoutes({ sandboxes, ports }: Services): Route[] {
  return [
    route(
      {
        method: 'POST',
        url: '/v1/sandboxes/:id/previews',
        id: 'createPreview',
        summary: 'A URL for a port of the sandbox, with a token that opens it',
        params: SandboxPath,
        body: PreviewBody,
        answers: { 201: { description: 'The address', schema: Preview } },
      },
      ({ tenant, params: { id }, body: { port, expiresInMs }, request, reply }) => {
        const { status, reason } = sandboxes.get(tenant, id);
        if (isEnded(status)) throw new ServiceError('sandbox_ended', undefined, { details: { status, reason } });
        const expiresAtMs = ports.tokens.now() + expiresInMs;
        const token = ports.tokens.issue({ tenant, sandbox: id, port, expiresAtMs });
        const { domain } = ports;
        const [name = '', suffix = ''] = request.host.split(/(?=:\d+$)/);
        const base =
          domain === null ? `${name}${suffix}/v1/sandboxes/${id}/ports/${port}` : `${port}-${id}.${domain}${suffix}`;
        reply.code(201);
        return {
          url: `${request.protocol}://${base}/?${TOKEN_NAME}=${token}`,
          token,
          expiresAt: new Date(expiresAtMs).toISOString(),
        };
      },
    ),
  ];
}

export function registerPreview(app: FastifyInstance, services: Services): void {
  const handler = (request: FastifyRequest, reply: FastifyReply): Promise<unknown> =>
    forwardPreview(services, request, reply);
  const onRequest = async ({ raw }: FastifyRequest): Promise<void> => {
    authenticate(services, raw.headers, targetOf(sentUrl(raw)));
  };
  // Servers inside may use WebDAV methods and the like.
  const others = METHODS.filter((method) => method !== 'CONNECT' && !app.supportedMethods.includes(method));
  for (const method of others) app.addHttpMethod(method, { hasBody: true });
  for (const url of ['/v1/sandboxes/:id/ports/:port', '/v1/sandboxes/:id/ports/:port/*']) {
    app.all(url, { onRequest }, handler);
  }
}

/**
 * Forwards a request to the port that its URL names, and the answer back.
 * @param known where the client reaches the port, if not at the request's own URL
 * @throws ServiceError
 */
export async function forwardPreview(
  services: Services,
  request: FastifyRequest,
  reply: FastifyReply,
  known?: Base,
): Promise<unknown> {
  const target = targetOf(sentUrl(request.raw));
  const own = baseOf(target, request.headers.host, services.ports.domain);
  const access = authenticate(services, request.headers, target);
  const gone = new AbortController();
  onClosed(reply, () => gone.abort(new ServiceError('cancelled')));
  const socket = await services.ports.connect(access.tenant, target.sandbox, target.port, gone.signal);
  onClosed(reply, () => socket.destroy());
  const answered = Promise.withResolvers<IncomingMessage>();
  const body = bodyIn(request);
  const headers = { ...headersFor(request.headers, target, access), connection: 'close' };
  const outgoing = httpRequest({
    createConnection: () => socket,
    method: request.method,
    path: target.path,
    // Node would send a body without a length as it is after a GET or DELETE, where it looks like the next request.
    headers:
      body === undefined || 'content-length' in headers ? headers : { ...headers, 'transfer-encoding': 'chunked' },
  });
  outgoing.once('response', (response) => answered.resolve(response));
  outgoing.on('error', (error) => answered.reject(error));
  // A 101 to a request that did not ask for an upgrade.
  outgoing.once('upgrade', () => answered.reject(new Error('an answer of 101')));
  if (body === undefined) outgoing.end();
  else pipeline(Readable.from(bodyOf({ body }), { objectMode: false }), outgoing, () => undefined);
  let response: IncomingMessage;
  try {
    response = await answered.promise;
  } catch (error) {
    socket.destroy();
    if (!(error instanceof ServiceError)) {
      throw unanswered(request, 'the server on this port does not speak HTTP', error);
    }
    throw error.code === 'port_refused' ? unanswered(request, error.message, error) : error;
  }
  const { statusCode = 0 } = response;
  if (statusCode < 200 || statusCode > 599) {
    socket.destroy();
    throw unanswered(request, `the server on this port answered with an invalid status: ${statusCode}`);
  }
  reply.code(statusCode);
  reply.headers(answerHeaders(response.headers, target, known === undefined ? own : known));
  if (target.token !== undefined) reply.header('set-cookie', tokenCookie(target.token, own));
  return reply.send(Readable.from(contentOf(response), { objectMode: false }));
}

/** The request has been sent. `port_refused` would say that nothing was done, and that the call may be repeated. */
function unanswered({ method }: FastifyRequest, message: string, cause?: unknown): ServiceError {
  return new ServiceError(READS.has(method) ? 'port_refused' : 'interrupted', message, { cause });
}

/** The unread body. Fastify passes none with a GET or HEAD, but there are servers that take one. Undefined: there is none. */
function bodyIn({ body, raw }: FastifyRequest): unknown {
  if (body !== undefined) return body;
  const { 'content-length': length, 'transfer-encoding': coding } = raw.headers;
  return coding !== undefined || Number(length ?? 0) > 0 ? raw : undefined;
}

async function* contentOf(response: IncomingMessage): AsyncGenerator<Buffer> {
  try {
    yield* response as AsyncIterable<Buffer>;
  } catch (cause) {
    throw new ServiceError('interrupted', 'the server on this port broke off its response', { cause });
  }
}
