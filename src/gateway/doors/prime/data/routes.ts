/** The data plane: what is opened by a sandbox's token. */
import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { createContextValues } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { createDataErrors } from '../errors.ts';
import { NAMESPACE, type PrimeContext } from '../context.ts';
import { CommandSession } from '../connect/command-session.gen.ts';
import { relaxHeaders } from '../connect/headers.ts';
import { commandSession, SANDBOX_KEY } from '../connect/service.ts';
import type { Sessions } from '../connect/sessions.ts';
import { execJson } from './exec.ts';
import { downloadFile, readFile, uploadFile } from './files.ts';

type Operation = (
  context: PrimeContext,
  tenant: string,
  sandbox: string,
  request: FastifyRequest,
  reply: FastifyReply,
) => Promise<unknown>;

const MAX_MESSAGE_BYTES = 32 * 1024 * 1024;
const POOLED_BY_HTTPX = /^python-httpx\//;

export async function registerData(app: FastifyInstance, context: PrimeContext): Promise<void> {
  app.setErrorHandler(createDataErrors(context.services.log));
  app.addHook('onSend', (request, reply, payload, next) => {
    if (keepsBadly(request)) reply.header('connection', 'close');
    next(null, payload);
  });
  const routes: ['GET' | 'POST', string, Operation][] = [
    ['POST', 'exec', execJson],
    ['GET', 'download', downloadFile],
    ['GET', 'read-file', readFile],
  ];
  add(app, context, routes);
  await app.register((raw, _options, done) => {
    passBodies(raw);
    add(raw, context, [['POST', 'upload', uploadFile]]);
    done();
  });
}

function add(app: FastifyInstance, context: PrimeContext, routes: ['GET' | 'POST', string, Operation][]): void {
  for (const [method, name, operation] of routes) {
    const sandboxOf = (request: FastifyRequest): string => (request.params as { id: string }).id;
    app.route({
      method,
      url: `/${NAMESPACE}/:id/${name}`,
      onRequest: (request, _reply, next) => {
        try {
          context.tokens.check(request.headers.authorization, sandboxOf(request));
          next();
        } catch (error) {
          next(error as Error);
        }
      },
      handler: (request, reply) => {
        const { tenant, sandbox } = context.tokens.check(request.headers.authorization, sandboxOf(request));
        return operation(context, tenant, sandbox, request, reply);
      },
    });
  }
}

/**
 * Whether the client must not keep this connection. The pool of httpx may close one that it has just given to a call,
 * which breaks that call (encode/httpcore#1110), and may send a command again when a server closes one: with none that
 * is idle it does neither. A body that is still on its way would break the answer, so there the connection stays.
 */
function keepsBadly({ headers, raw }: FastifyRequest): boolean {
  return raw.complete && POOLED_BY_HTTPX.test(headers['user-agent'] ?? '');
}

/** The Connect service, below an address that says which sandbox is meant. */
export function registerConnect(
  app: FastifyInstance,
  context: PrimeContext,
  sessions: Sessions,
  resumeMs: number,
): void {
  const sandboxes = new WeakMap<IncomingMessage, string>();
  const handle = connectNodeAdapter({
    routes: (router) => router.service(CommandSession, commandSession(context, sessions, resumeMs)),
    contextValues: (request) => createContextValues().set(SANDBOX_KEY, sandboxes.get(request as IncomingMessage) ?? ''),
    grpc: false,
    grpcWeb: false,
    readMaxBytes: MAX_MESSAGE_BYTES,
    requireConnectProtocolHeader: true,
  });
  passBodies(app);
  app.post(`/${NAMESPACE}/:id/${CommandSession.typeName}/:method`, (request, reply) => {
    const { id, method } = request.params as { id: string; method: string };
    sandboxes.set(request.raw, id);
    relaxHeaders(request.raw.headers);
    request.raw.url = `/${CommandSession.typeName}/${method}`;
    reply.hijack();
    handle(request.raw, reply.raw);
  });
}

/** Bodies are not read here but handed on as they come. */
function passBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
}
