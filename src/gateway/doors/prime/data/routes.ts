/** Routes of the data plane, authenticated by a sandbox's token. */
import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { createContextValues } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { refuseUnsupported } from '../../../http/headers.ts';
import { readJsonStrictly } from '../../../http/json.ts';
import { createDataErrors } from '../errors.ts';
import { NAMESPACE, type PrimeContext } from '../context.ts';
import { CommandSession } from '../connect/command-session.gen.ts';
import { relaxHeaders } from '../connect/headers.ts';
import { CommandSessionService, SANDBOX_KEY } from '../connect/service.ts';
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
  readJsonStrictly(app);
  app.addHook('onSend', (request, reply, payload, next) => {
    if (mustNotReuse(request)) reply.header('connection', 'close');
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
          refuseUnsupported(request.raw);
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
 * Whether the client must not reuse this connection. The pool of httpx may close a connection that it has just assigned
 * to a call, which breaks that call (encode/httpcore#1110), and may resend a command when the server closes one.
 * Without idle connections it does neither. While a body is still arriving, closing would break the answer, so that
 * connection stays.
 */
function mustNotReuse({ headers, raw }: FastifyRequest): boolean {
  return raw.complete && POOLED_BY_HTTPX.test(headers['user-agent'] ?? '');
}

/** Registers the Connect service under paths that name the sandbox. */
export function registerConnect(
  app: FastifyInstance,
  context: PrimeContext,
  sessions: Sessions,
  resumeMs: number,
): void {
  const sandboxes = new WeakMap<IncomingMessage, string>();
  const handle = connectNodeAdapter({
    routes: (router) => void router.service(CommandSession, new CommandSessionService({ context, sessions, resumeMs })),
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

/** Passes bodies on as streams instead of parsing them. */
function passBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
}
