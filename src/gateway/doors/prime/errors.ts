/**
 * Errors in the two forms that the clients read: `{ detail }` of the control plane, `{ error, message }` of the data
 * plane.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from '../../../lib/logger.ts';
import type { ErrorCode, ServiceError } from '../../../protocol/errors.ts';
import { retryAfterSeconds, translateAndLog } from '../../http/errors.ts';

/** Statuses that differ from the error table because Prime clients interpret some of them in their own way. */
const CONTROL_STATUS: Partial<Record<ErrorCode, number>> = { invalid_request: 422 };

/**
 * Statuses of the data plane. Clients retry 5xx, 408 and 409 for seconds, so a permanent failure must not use them; 409
 * is for a sandbox that exists but cannot run anything now.
 */
const DATA_STATUS: Partial<Record<ErrorCode, number>> = {
  exec_program_not_found: 400,
  exec_permission_denied: 400,
  exec_bad_cwd: 400,
  exec_bad_user: 400,
  exec_bad_args: 400,
  file_exists: 400,
  file_not_regular: 400,
  file_not_directory: 400,
  file_no_space: 400,
  file_failed: 400,
  idempotency_conflict: 400,
  output_lost: 400,
  deadline_exceeded: 408,
};

export function createControlErrors(log: Logger) {
  return (thrown: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const error = translateAndLog(thrown, request, log);
    return withHeaders(reply, error)
      .code(CONTROL_STATUS[error.code] ?? error.httpStatus)
      .send({ detail: error.message, code: error.code });
  };
}

export function createDataErrors(log: Logger) {
  return (thrown: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const error = translateAndLog(thrown, request, log);
    const status = DATA_STATUS[error.code] ?? error.httpStatus;
    return withHeaders(reply, error)
      .code(status)
      .send({ error: slugOf(error), message: error.message, code: status });
  };
}

/** Clients know only this slug for a sandbox that is gone, whether it ended or never existed. */
function slugOf(error: ServiceError): string {
  return error.code === 'sandbox_ended' ? 'sandbox_not_found' : error.code;
}

function withHeaders(reply: FastifyReply, error: ServiceError): FastifyReply {
  if (error.retryAfterMs !== undefined) reply.header('retry-after', retryAfterSeconds(error.retryAfterMs));
  return reply.type('application/json; charset=utf-8');
}
