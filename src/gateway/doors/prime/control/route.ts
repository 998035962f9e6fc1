/** Routes of the control plane: the caller's key is checked before a body is read, and every answer is a JSON object. */
import type { FastifyContextConfig, FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify';
import { ServiceError } from '../../../../protocol/errors.ts';
import { refuseUnsupported } from '../../../http/headers.ts';
import type { Services } from '../../../services.ts';

export interface ControlCall {
  tenant: string;
  params: Record<string, string>;
  query: Record<string, string | string[] | undefined>;
  body: unknown;
  request: FastifyRequest;
  reply: FastifyReply;
}

export type Answer = Record<string, unknown>;
export type ControlRoute = [
  method: HTTPMethods,
  url: string,
  handler: (call: ControlCall) => Answer | Promise<Answer>,
  options?: FastifyContextConfig,
];

export function registerControl(app: FastifyInstance, services: Services, routes: readonly ControlRoute[]): void {
  const tenants = new WeakMap<FastifyRequest, string>();
  for (const [method, url, handler, config = {}] of routes) {
    app.route({
      method,
      url,
      config,
      onRequest: (request, _reply, next) => {
        try {
          tenants.set(request, services.auth.byHeader(request.headers.authorization).tenant);
          refuseUnsupported(request.raw);
          next();
        } catch (error) {
          next(error as Error);
        }
      },
      handler: async (request, reply) => {
        const tenant = tenants.get(request);
        if (tenant === undefined) throw new ServiceError('unauthenticated');
        return handler({
          tenant,
          params: request.params as ControlCall['params'],
          query: request.query as ControlCall['query'],
          body: request.body ?? {},
          request,
          reply,
        });
      },
    });
  }
}

/** All values of a query parameter that may be repeated. */
export function valuesOf(value: string | string[] | undefined): string[] {
  return value === undefined ? [] : [value].flat();
}
