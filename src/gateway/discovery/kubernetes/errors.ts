/** Errors of the API server, and what they mean for a list and its watch. */
import * as z from 'zod';

export class KubeError extends Error {
  override readonly name = 'KubeError';
  /** The HTTP status, also when it arrived as an event of a watch. */
  readonly status: number;
  readonly retryAfterMs: number | null;

  constructor(status: number, message: string, retryAfterMs: number | null = null) {
    super(message);
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }

  /** The server no longer has the version (or page) that was asked for. */
  get gone(): boolean {
    return this.status === 410;
  }

  get forbidden(): boolean {
    return this.status === 403;
  }
}

/** The server sent something that violates its protocol. */
export class MalformedError extends Error {
  override readonly name = 'MalformedError';
}

const MAX_MESSAGE = 300;
const MAX_RETRY_AFTER_MS = 60_000;
/** The server is busy or unreachable: earlier answers remain valid. */
const PASSING = new Set([401, 403, 429, 500, 502, 503]);

const Status = z.object({
  code: z.number().optional(),
  message: z.string().optional(),
  reason: z.string().optional(),
  details: z.object({ retryAfterSeconds: z.number().optional() }).optional(),
});

/** The error of a response with this status and body. */
export function statusError(status: number, body: string, retryAfterMs: number | null): KubeError {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    // A proxy in between may answer with an HTML page.
  }
  const answer = Status.safeParse(parsed).data;
  return kubeError(status, answer, retryAfterMs);
}

/** The error of a watch's ERROR event. */
export function eventError(object: unknown): KubeError {
  const answer = Status.safeParse(object).data;
  return kubeError(answer?.code ?? 500, answer, null);
}

function kubeError(status: number, answer: z.infer<typeof Status> | undefined, retryAfterMs: number | null): KubeError {
  const seconds = answer?.details?.retryAfterSeconds;
  const wait = retryAfterMs ?? (seconds === undefined || seconds <= 0 ? null : seconds * 1_000);
  const message = `the API server answered ${status}: ${(answer?.message ?? answer?.reason ?? '').slice(0, MAX_MESSAGE)}`;
  return new KubeError(status, message, wait === null ? null : Math.min(wait, MAX_RETRY_AFTER_MS));
}

/** Whether a watch may resume where it was; otherwise everything is listed again. */
export function mayResume(error: unknown): boolean {
  if (error instanceof MalformedError) return false;
  return !(error instanceof KubeError) || PASSING.has(error.status);
}
