/**
 * The one table of errors. Three things never share a code: the program failed (that is a result, not an error), the
 * program never ran (`exec_…`), and the platform failed.
 */

interface ErrorRule {
  /** Status of the HTTP answer. */
  http: number;
  /** Nothing was done, and the same call may succeed later. */
  retryable: boolean;
  message: string;
}

export const ERRORS = {
  invalid_request: { http: 400, retryable: false, message: 'the request is not valid' },
  unauthenticated: { http: 401, retryable: false, message: 'the API key is missing or invalid' },
  forbidden: { http: 403, retryable: false, message: 'this key is not allowed to do that' },
  not_found: { http: 404, retryable: false, message: 'not found' },
  sandbox_not_found: { http: 404, retryable: false, message: 'there is no sandbox with this id' },
  sandbox_ended: { http: 409, retryable: false, message: 'the sandbox has ended' },
  sandbox_not_ready: { http: 409, retryable: true, message: 'the sandbox is not running yet' },
  idempotency_conflict: {
    http: 409,
    retryable: false,
    message: 'this idempotency key was already used with a different request',
  },
  body_too_large: { http: 413, retryable: false, message: 'the request is larger than allowed' },
  rate_limited: { http: 429, retryable: true, message: 'too many requests' },
  quota_exceeded: { http: 429, retryable: true, message: 'the tenant has used up its quota' },
  capacity_exhausted: { http: 503, retryable: true, message: 'no node has room for this right now' },
  node_unavailable: { http: 503, retryable: true, message: 'the node cannot be reached right now' },
  draining: { http: 503, retryable: true, message: 'this server is shutting down' },
  image_not_found: { http: 422, retryable: false, message: 'there is no such image' },
  image_unauthorized: { http: 422, retryable: false, message: 'the registry denied access to this image' },
  image_unreachable: { http: 503, retryable: true, message: 'the image registry cannot be reached' },
  image_invalid: { http: 422, retryable: false, message: 'the image cannot be used' },
  exec_not_found: { http: 404, retryable: false, message: 'there is no exec with this id' },
  exec_program_not_found: { http: 422, retryable: false, message: 'the program does not exist' },
  exec_permission_denied: { http: 422, retryable: false, message: 'permission to run the program was denied' },
  exec_bad_cwd: { http: 422, retryable: false, message: 'the working directory cannot be used' },
  exec_bad_user: { http: 422, retryable: false, message: 'the user does not exist in the sandbox' },
  exec_bad_args: { http: 422, retryable: false, message: 'the arguments or the environment cannot be used' },
  exec_resource_limit: { http: 429, retryable: true, message: 'the sandbox has no room for another process or call' },
  interrupted: {
    http: 502,
    retryable: false,
    message: 'the platform failed; it is unknown whether the command ran to completion',
  },
  output_lost: { http: 410, retryable: false, message: 'output was discarded before it was read' },
  file_not_found: { http: 404, retryable: false, message: 'there is no such file' },
  file_exists: { http: 409, retryable: false, message: 'the file already exists' },
  file_permission_denied: { http: 403, retryable: false, message: 'access to the file was denied' },
  file_not_regular: { http: 409, retryable: false, message: 'this is not a regular file' },
  file_not_directory: { http: 409, retryable: false, message: 'this is not a directory' },
  file_no_space: { http: 507, retryable: false, message: 'there is no space left in the sandbox' },
  file_failed: { http: 500, retryable: false, message: 'the file operation failed' },
  port_refused: { http: 502, retryable: true, message: 'nothing listens on this port in the sandbox' },
  range_not_satisfiable: { http: 416, retryable: false, message: 'the range is outside the file' },
  deadline_exceeded: { http: 504, retryable: false, message: 'no answer arrived in time' },
  cancelled: { http: 499, retryable: false, message: 'the caller gave up' },
  protocol_error: { http: 400, retryable: false, message: 'the peer violated the protocol' },
  not_supported: { http: 501, retryable: false, message: 'this is not supported here' },
  internal: { http: 500, retryable: false, message: 'internal error' },
} as const satisfies Record<string, ErrorRule>;

export type ErrorCode = keyof typeof ERRORS;

/** An error as it crosses a wire: in REFUSED and RESET frames, and inside `{ error: … }` of an HTTP answer. */
export interface WireError {
  code: ErrorCode;
  message: string;
  retryable?: boolean | undefined;
  retryAfterMs?: number | undefined;
  details?: Record<string, unknown> | undefined;
}

const BRAND = Symbol.for('millibox.ServiceError');

export interface ServiceErrorOptions {
  details?: Record<string, unknown> | undefined;
  retryAfterMs?: number | undefined;
  /** For logs only: never crosses a wire. */
  cause?: unknown;
}

/**
 * The one error class of gateway, agent and SDK. `instanceof` works across copies of the package. Its name is the one
 * under which users of the SDK import it, since the class name is printed with its errors.
 */
class MilliboxError extends Error {
  override readonly name: string = 'MilliboxError';
  readonly code: ErrorCode;
  readonly details: Record<string, unknown> | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message?: string, options: ServiceErrorOptions = {}) {
    super(message ?? ERRORS[code].message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details;
    this.retryAfterMs = options.retryAfterMs;
  }

  /** On the prototype, so that it is not printed with each error. */
  get [BRAND](): true {
    return true;
  }

  get retryable(): boolean {
    return ERRORS[this.code].retryable;
  }

  get httpStatus(): number {
    return ERRORS[this.code].http;
  }

  toWire(): WireError {
    return {
      code: this.code,
      message: this.message,
      retryable: this.retryable,
      ...(this.retryAfterMs === undefined ? {} : { retryAfterMs: this.retryAfterMs }),
      ...(this.details === undefined ? {} : { details: this.details }),
    };
  }

  /** By brand for this class itself; a subclass is recognised by its prototype, as usual. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    if (this !== MilliboxError) return Function.prototype[Symbol.hasInstance].call(this, value);
    return typeof value === 'object' && value !== null && BRAND in value;
  }

  /**
   * Anything that was thrown, as a MilliboxError. Other errors become `internal`, and their text never crosses the
   * wire.
   */
  static from(thrown: unknown): MilliboxError {
    if (thrown instanceof MilliboxError) return thrown;
    return new MilliboxError('internal', undefined, { cause: thrown });
  }

  /** An error that a peer sent. A code unknown to this version becomes `internal`, with its text kept. */
  static fromWire(wire: unknown): MilliboxError {
    const w = (typeof wire === 'object' && wire !== null ? wire : {}) as Partial<Record<keyof WireError, unknown>>;
    const code = isErrorCode(w.code) ? w.code : 'internal';
    return new MilliboxError(code, typeof w.message === 'string' ? w.message : undefined, {
      ...(typeof w.retryAfterMs === 'number' ? { retryAfterMs: w.retryAfterMs } : {}),
      ...(typeof w.details === 'object' && w.details !== null ? { details: w.details as Record<string, unknown> } : {}),
    });
  }
}

export { MilliboxError as ServiceError };

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERRORS, value);
}
