/** Maps our errors to Connect codes. The code decides what clients do next. */
import { Code, ConnectError } from '@connectrpc/connect';
import { ServiceError, type ErrorCode } from '../../../../protocol/errors.ts';

/** Clients take `NotFound` to mean that the sandbox or session is gone, and do not retry a `FailedPrecondition`. */
const CODES: Partial<Record<ErrorCode, Code>> = {
  unauthenticated: Code.Unauthenticated,
  forbidden: Code.PermissionDenied,
  not_found: Code.NotFound,
  sandbox_not_found: Code.NotFound,
  sandbox_ended: Code.NotFound,
  exec_not_found: Code.NotFound,
  invalid_request: Code.InvalidArgument,
  body_too_large: Code.InvalidArgument,
  idempotency_conflict: Code.FailedPrecondition,
  exec_program_not_found: Code.FailedPrecondition,
  exec_permission_denied: Code.FailedPrecondition,
  exec_bad_cwd: Code.FailedPrecondition,
  exec_bad_user: Code.FailedPrecondition,
  exec_bad_args: Code.FailedPrecondition,
  exec_resource_limit: Code.ResourceExhausted,
  rate_limited: Code.ResourceExhausted,
  deadline_exceeded: Code.DeadlineExceeded,
  cancelled: Code.Canceled,
  not_supported: Code.Unimplemented,
  output_lost: Code.DataLoss,
  sandbox_not_ready: Code.Unavailable,
  node_unavailable: Code.Unavailable,
  capacity_exhausted: Code.Unavailable,
  draining: Code.Unavailable,
  interrupted: Code.Unavailable,
};

export function toConnectError(thrown: unknown): ConnectError {
  if (thrown instanceof ConnectError) return thrown;
  const error = ServiceError.from(thrown);
  return new ConnectError(error.message, CODES[error.code] ?? Code.Internal);
}
