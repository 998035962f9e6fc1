/** A token bucket represented by one number that any store can keep: the time at which it will be full again. */
import { MAX_CREATE_COUNT } from '../../protocol/limits.ts';
import type { Rate } from './counters.ts';

/**
 * Takes `count` tokens at once. A batch larger than the burst is admitted when the bucket is full and leaves it in
 * debt, so that large batches pass and the rate still holds over time.
 * @param fullAtMs the last result; any time in the past for a full bucket
 */
export function take(
  fullAtMs: number,
  nowMs: number,
  count: number,
  { perSecond, burst }: Rate,
): { fullAtMs: number } | { waitMs: number } {
  const tokenMs = 1000 / perSecond;
  // More can only have been owed at a lower rate, or by another clock.
  const mostMs = Math.max(burst, MAX_CREATE_COUNT) * tokenMs;
  const from = Math.min(Math.max(fullAtMs, nowMs), nowMs + mostMs);
  const waitMs = from + Math.min(count, burst) * tokenMs - burst * tokenMs - nowMs;
  // Times are sums of fractions: ignore differences below a microsecond.
  return waitMs > 1e-3 ? { waitMs: Math.ceil(waitMs) } : { fullAtMs: from + count * tokenMs };
}
