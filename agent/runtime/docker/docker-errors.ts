/**
 * Translates Docker's errors. The engine's messages name paths, mounts, sockets and addresses of the node, and an
 * error's message reaches the tenant. So they go to the log and into the cause; the message is our own, with advice.
 */
import type { Logger } from '../../../src/lib/logger.ts';
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

/** Docker's message, without the wrapping added by its client. */
export function textOf(error: unknown): string {
  const answer = (typeof error === 'object' && error !== null ? error : {}) as DockerAnswer;
  const text = answer.json?.message ?? answer.message ?? error;
  return String(text).slice(0, 1_024);
}

/** Expected answers to a retry or a probe: not worth an operator's attention. */
const isAnswer = (error: unknown): boolean => [404, 409].includes(statusOf(error) ?? 0);

/** When a container could not be created. A missing network is a 404 too. */
export const isImageGone = (error: unknown): boolean => statusOf(error) === 404 && /no such image/i.test(textOf(error));

/** Whether a retry may succeed soon: there was no answer, or the engine had an internal error. */
export function isTransient(error: unknown): boolean {
  const status = statusOf(error instanceof ServiceError ? error.cause : error);
  return status === undefined || status >= 500;
}

/** For everything except pulls. `internal`, unless limits of the sandbox or the node are the reason. */
export function dockerError(error: unknown, what: string, log: Logger): ServiceError {
  if (error instanceof ServiceError) return error;
  log[isAnswer(error) ? 'debug' : 'warn']({ err: error }, `the engine refused: ${what}`);
  const text = textOf(error);
  const make = (code: 'capacity_exhausted' | 'not_supported' | 'internal', message: string): ServiceError =>
    new ServiceError(code, message, { cause: error });
  if (
    /no space left|disk quota exceeded|cannot allocate memory|too many open files|resource temporarily unavailable/i.test(
      text,
    )
  ) {
    return make(
      'capacity_exhausted',
      'the node is full: it has no disk, memory or files left for this; try again later',
    );
  }
  if (/range of cpus/i.test(text)) return make('not_supported', 'the node has fewer cpus than that: ask for fewer');
  if (/minimum memory limit/i.test(text)) {
    return make('not_supported', 'containers on this node need more memory than that: ask for more');
  }
  return make('internal', `${what} failed; if it fails again, the agent's log has the reason`);
}

const PULL_FAILURES = {
  capacity_exhausted: 'the node has no disk space left for the image; try again later',
  image_unauthorized: 'the registry denied access: the node needs credentials for this image',
  image_not_found: 'the registry has no such image, or shows it only with credentials; check its name and tag',
  image_unreachable: 'the registry cannot be reached from the node, or has failed; try again later',
  image_invalid: 'the engine cannot use this image',
} as const;

/** The error of a failed pull, from the status of its response or the message in its stream. */
export function pullError(error: unknown, ref: string, log: Logger): ServiceError {
  if (error instanceof ServiceError) return error;
  log.warn({ err: error, image: ref }, 'the engine could not pull an image');
  const text = textOf(error);
  const status = statusOf(error);
  const make = (code: keyof typeof PULL_FAILURES, why: string = PULL_FAILURES[code]): ServiceError =>
    new ServiceError(code, `${ref}: ${why}`, { cause: error });
  if (/no space left/i.test(text)) return make('capacity_exhausted');
  if (/unauthorized|authentication required|no basic auth|denied: requested access|403 Forbidden/i.test(text)) {
    // Registries give this answer for missing names too when the client is not signed in.
    return make(/repository does not exist|may require/i.test(text) ? 'image_not_found' : 'image_unauthorized');
  }
  if (/no matching manifest/i.test(text)) {
    return make('image_invalid', 'the image has no variant for the processor of this node');
  }
  if (/invalid checksum/i.test(text)) return make('image_invalid', 'the registry sent damaged data');
  if (status === 400 || /invalid reference/i.test(text)) return make('image_invalid', 'this is not an image name');
  if (/unsupported/i.test(text)) return make('image_invalid');
  if (status === 404 || /not found|manifest unknown|does not exist|no such image/i.test(text)) {
    return make('image_not_found');
  }
  return make('image_unreachable');
}
