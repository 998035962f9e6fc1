/** Pauses between tries of what fails: each twice as long as the one before, up to a limit. */

export interface Backoff {
  firstMs: number;
  maxMs: number;
}

/** More doublings lead nowhere but to infinity. */
const MAX_DOUBLINGS = 30;

/** How long to wait when so many tries have failed in a row. */
export function backoffMs({ firstMs, maxMs }: Backoff, failures: number): number {
  return Math.min(maxMs, firstMs * 2 ** Math.min(MAX_DOUBLINGS, Math.max(0, failures - 1)));
}

/** The same with a random half, so that those who failed together do not come back together. */
export function scatteredBackoffMs(backoff: Backoff, failures: number): number {
  return scatteredMs(backoffMs(backoff, failures));
}

/** At least half of a pause, and a random part of the rest. */
export const scatteredMs = (ms: number): number => ms / 2 + (Math.random() * ms) / 2;
