/** The token bucket, as one number: the time at which it will be full again. Any store can keep that. */
import type { Rate } from './counters.ts';

/**
 * Takes `count` tokens at once. More than the burst can never be in the bucket: they are let in when it is full, and
 * it owes the rest, so that a large batch passes and the rate holds over time.
 * @param fullAtMs As it was answered the last time; any time in the past for a bucket that is full.
 */
export function take(
  fullAtMs: number,
  nowMs: number,
  count: number,
  { perSecond, burst }: Rate,
): { fullAtMs: number } | { waitMs: number } {
  const tokenMs = 1000 / perSecond;
  const from = Math.max(fullAtMs, nowMs);
  const waitMs = from + Math.min(count, burst) * tokenMs - burst * tokenMs - nowMs;
  // Times are sums of fractions: less than a microsecond is nothing.
  return waitMs > 1e-3 ? { waitMs: Math.ceil(waitMs) } : { fullAtMs: from + count * tokenMs };
}
