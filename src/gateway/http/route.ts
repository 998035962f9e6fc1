/** A route as data: what it takes and answers, checked by zod and described in the OpenAPI document. */
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify';
import * as z from 'zod';
import { messageOf } from '../../lib/schema-problems.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { checkKey } from '../../protocol/idempotency-key.ts';
import { assertAdmin, type Caller } from '../auth/auth.ts';
import type { Services } from '../services.ts';
import { onClosed } from './client-gone.ts';
import { refuseUnsupported } from './headers.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Its answers cover all sandboxes or nodes, and are marked while this gateway may not know all of them. */
    overview?: boolean;
  }
}

export interface AnswerSpec {
  description: string;
  /** Schema of a JSON answer. Absent: no JSON. */
  schema?: z.ZodType;
  /** For an answer that is not JSON. */
  contentType?: string;
}

export interface RouteSpec<P = unknown, Q = unknown, B = unknown> {
  method: HTTPMethods;
  url: string;
  /** operationId, and the name of the route. */
  id: string;
  summary: string;
  params?: z.ZodType<P>;
  query?: z.ZodType<Q>;
  /** Schema of a JSON body. */
  body?: z.ZodType<B>;
  /** The request's body is raw bytes of this content type. */
  rawBody?: string;
  /** Takes `Idempotency-Key`. */
  idempotent?: boolean;
  /**
   * May hold its answer back for long: `signal` fires when the server drains, and it then answers with what there is.
   */
  waits?: boolean;
  /** For administrators' keys only. */
  admin?: boolean;
  /** Answers about all sandboxes or nodes: see `FastifyContextConfig`. */
  overview?: boolean;
  /** Called by hundreds at once: see `paceBursts`. */
  bursts?: boolean;
  answers: Record<number, AnswerSpec>;
}

export interface Call<P, Q, B> {
  caller: Caller;
  tenant: string;
  params: P;
  query: Q;
  body: B;
  idempotencyKey: string | undefined;
  /** Fires when the client has gone before it was answered. */
  signal: AbortSignal;
  request: FastifyRequest;
  reply: FastifyReply;
}

export type Route = RouteSpec & { handler: (call: Call<never, never, never>) => unknown };

/** Ties the types of a route's parts to its handler. */
export function route<P, Q, B>(spec: RouteSpec<P, Q, B>, handler: (call: Call<P, Q, B>) => unknown): Route {
  return { ...spec, handler } as unknown as Route;
}

const EMPTY = z.strictObject({});

/** Adds routes to the app. A caller without a valid key is refused before the body is read. */
export function registerRoutes(app: FastifyInstance, services: Services, routes: readonly Route[]): void {
  const callers = new WeakMap<FastifyRequest, Caller>();
  for (const one of routes) {
    app.route({
      method: one.method,
      url: one.url,
      config: { overview: one.overview ?? false, bursts: one.bursts ?? false },
      onRequest: (request, _reply, next) => {
        try {
          const caller = services.auth.byHeader(request.headers.authorization);
          if (one.admin) assertAdmin(caller);
          refuseUnsupported(request.raw);
          callers.set(request, caller);
          next();
        } catch (error) {
          next(error as Error);
        }
      },
      handler: async (request, reply) => {
        const caller = callers.get(request);
        if (caller === undefined) throw new ServiceError('unauthenticated');
        const gone = new AbortController();
        const undrain = one.waits
          ? services.lifecycle.onDrain(() => gone.abort(new ServiceError('draining')))
          : undefined;
        onClosed(reply, (answered) => {
          undrain?.();
          if (!answered) gone.abort(new ServiceError('cancelled'));
        });
        const answer = await (one.handler as (call: Call<unknown, unknown, unknown>) => unknown)({
          caller,
          tenant: caller.tenant,
          params: check(one.params ?? EMPTY, request.params, 'path'),
          query: check(one.query ?? EMPTY, request.query, 'query'),
          body:
            one.body === undefined
              ? undefined
              : check(one.body, request.body === undefined ? {} : request.body, 'body'),
          idempotencyKey: one.idempotent ? idempotencyKey(request) : undefined,
          signal: gone.signal,
          request,
          reply,
        });
        return answer;
      },
    });
  }
}

/** @throws ServiceError `invalid_request` with each problem in details. */
export function check<T>(schema: z.ZodType<T>, value: unknown, where: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.slice(0, 20).map((issue) => ({
    path: [where, ...issue.path.map(String)].join('.'),
    message: messageOf(issue),
  }));
  const first = issues[0];
  throw new ServiceError('invalid_request', first === undefined ? undefined : `${first.path}: ${first.message}`, {
    details: { issues },
  });
}

const idempotencyKey = (request: FastifyRequest): string | undefined =>
  checkKey(request.headers['idempotency-key'], 'Idempotency-Key');

/** An integer in a query. */
export function queryInt(min: number, max: number) {
  return z
    .string()
    .regex(/^-?\d{1,16}$/, 'not a whole number')
    .transform(Number)
    .pipe(z.number().min(min).max(max))
    .meta({ integer: true, minimum: min, maximum: max });
}

/** `true` or `false` in a query. */
export const queryFlag = z
  .enum(['true', 'false'])
  .transform((text) => text === 'true')
  .meta({ boolean: true });

/** A parameter that may be given more than once. */
export const many = (item: z.ZodString) => z.union([item, z.array(item).max(100)]).optional();
