/** Exponential backoff: each pause is twice as long as the one before, up to a limit. */

export interface Backoff {
  firstMs: number;
  maxMs: number;
}

/** Further doublings would only reach infinity. */
const MAX_DOUBLINGS = 30;

/** How long to wait after this many consecutive failures. */
export function backoffMs({ firstMs, maxMs }: Backoff, failures: number): number {
  return Math.min(maxMs, firstMs * 2 ** Math.min(MAX_DOUBLINGS, Math.max(0, failures - 1)));
}

/** The same with a random half, so that callers that failed together do not retry together. */
export function jitteredBackoffMs(backoff: Backoff, failures: number): number {
  return jitteredMs(backoffMs(backoff, failures));
}

/** Half of the pause, plus a random part of the other half. */
export const jitteredMs = (ms: number): number => ms / 2 + (Math.random() * ms) / 2;
