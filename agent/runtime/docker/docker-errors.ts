/** Translates Docker's errors. */
import { ServiceError } from '../../../src/protocol/errors.ts';

interface DockerAnswer {
  statusCode?: unknown;
  code?: unknown;
  reason?: unknown;
  json?: { message?: unknown } | undefined;
  message?: unknown;
}

export function statusOf(error: unknown): number | undefined {
  const status = (error as DockerAnswer | null)?.statusCode;
  return typeof status === 'number' ? status : undefined;
}

/** Docker's message, without its client's wrapping. */
function textOf(error: unknown): string {
  const answer = (typeof error === 'object' && error !== null ? error : {}) as DockerAnswer;
  const text = answer.json?.message ?? answer.message ?? error;
  return String(text).slice(0, 1_024);
}

/** For everything except pulls. */
export function dockerError(error: unknown, what: string): ServiceError {
  if (error instanceof ServiceError) return error;
  const text = textOf(error);
  const full = /no space left|cannot allocate memory|too many open files|resource temporarily unavailable/i.test(text);
  return new ServiceError(full ? 'capacity_exhausted' : 'internal', `${what}: ${text}`, { cause: error });
}

/** A pull that failed, from the status of its answer or the message in its stream. */
export function pullError(error: unknown, ref: string): ServiceError {
  if (error instanceof ServiceError) return error;
  const text = textOf(error);
  const status = statusOf(error);
  const make = (code: 'image_not_found' | 'image_unauthorized' | 'image_unreachable' | 'image_invalid'): ServiceError =>
    new ServiceError(code, `${ref}: ${text}`, { cause: error });
  if (/no space left/i.test(text)) return new ServiceError('capacity_exhausted', `${ref}: ${text}`, { cause: error });
  if (/unauthorized|authentication required|no basic auth|denied: requested access|403 Forbidden/i.test(text)) {
    // To clients that are not signed in, registries give this answer for missing names too.
    return make(/repository does not exist|may require/i.test(text) ? 'image_not_found' : 'image_unauthorized');
  }
  if (status === 400 || /invalid reference|invalid checksum|no matching manifest|unsupported/i.test(text)) {
    return make('image_invalid');
  }
  if (status === 404 || /not found|manifest unknown|does not exist|no such image/i.test(text)) {
    return make('image_not_found');
  }
  return make('image_unreachable');
}
