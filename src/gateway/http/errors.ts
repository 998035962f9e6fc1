/** One form for all HTTP errors, whoever threw them. */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';

/** Body of an error answer. */
export function errorBody(error: ServiceError, requestId: string): { error: object } {
  return { error: { ...error.toWire(), requestId } };
}

export function sendError(reply: FastifyReply, error: ServiceError, requestId: string): FastifyReply {
  if (error.retryAfterMs !== undefined) reply.header('retry-after', retryAfterSeconds(error.retryAfterMs));
  reply.header('x-request-id', requestId);
  const size = error.code === 'range_not_satisfiable' ? error.details?.['sizeBytes'] : undefined;
  if (typeof size === 'number') reply.header('content-range', `bytes */${size}`);
  if (error.code === 'unauthenticated') reply.header('www-authenticate', 'Bearer');
  return reply.code(error.httpStatus).type('application/json; charset=utf-8').send(errorBody(error, requestId));
}

/** The header takes whole seconds; 0 would mean at once. */
export function retryAfterSeconds(ms: number): string {
  return String(Math.max(1, Math.ceil(ms / 1000)));
}

export function createErrorHandler(log: Logger) {
  return (thrown: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply =>
    sendError(reply, translateAndLog(thrown, request, log), request.id);
}

/** Translates an error, and logs it if it is our own fault. */
export function translateAndLog(thrown: unknown, request: FastifyRequest, log: Logger): ServiceError {
  const error = translate(thrown);
  if (error.code === 'internal') {
    log.error({ err: error.cause ?? error, requestId: request.id, route: request.routeOptions.url }, 'a call failed');
  }
  return error;
}

/** Translates fastify's own errors. */
export function translate(thrown: unknown): ServiceError {
  if (thrown instanceof ServiceError) return thrown;
  const { code, statusCode, message } = thrown as Partial<FastifyError>;
  const options = { cause: thrown };
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new ServiceError('body_too_large', undefined, options);
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return new ServiceError('invalid_request', 'the body is not valid JSON', options);
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new ServiceError('invalid_request', 'the body must be JSON, with content-type: application/json', options);
    case 'FST_ERR_BAD_URL':
      return new ServiceError('invalid_request', 'the address cannot be decoded', options);
    default:
      if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
        return new ServiceError('invalid_request', message, options);
      }
      return ServiceError.from(thrown);
  }
}
