/**
 * Which pool the next container is started for: claims before refills. While claims arrive, refills are few, and only
 * for pools that are half empty. While there are sandboxes, they take half of one start's time at most, unless claims are
 * about to empty a pool (docs/adr/0004).
 */
import type { Pool } from './pool.ts';

/** Refills wait until no claim has come for this long, so that they do not slow down a burst of claims. */
export const QUIET_MS = 150;
/** For this long after a claim, refills leave most of the machine to claims. */
const BUSY_MS = 2_000;
const BUSY_SHARE = 4;

interface Starts {
  nowMs: number;
  /** When the last claim came. */
  claimedAtMs: number;
  /** Starts in progress. */
  starting: number;
  /** The limit of concurrent starts. */
  atOnce: number;
  /** Whether pools are refilled, or only claims served. */
  refills: boolean;
  /** Whether there are sandboxes, whose commands refills would slow down. */
  occupied: boolean;
  /** When the last start has had its rest. */
  restedAtMs: number;
}

/**
 * The pool with the oldest unserved claim; without one, the pool with the largest deficit. A number: some pools lack
 * containers, and this is to be asked again after so many milliseconds. Undefined: after the next claim, or start's end.
 */
export function nextToStart(pools: readonly Pool[], starts: Starts): Pool | number | undefined {
  const { nowMs, claimedAtMs, starting, atOnce, refills, occupied, restedAtMs } = starts;
  if (starting >= atOnce) return undefined;
  const claimed = pools.filter((pool) => pool.unserved() > 0);
  if (claimed.length > 0) return claimed.reduce((a, b) => (b.waitingSince < a.waitingSince ? b : a));
  const sinceClaimMs = nowMs - claimedAtMs;
  const most = sinceClaimMs >= BUSY_MS ? atOnce : Math.max(1, Math.floor(atOnce / BUSY_SHARE));
  if (!refills || starting >= most) return undefined;
  const lacking = pools.filter((pool) => pool.deficit(nowMs) > 0);
  const quiet = sinceClaimMs >= QUIET_MS;
  const short = quiet ? lacking : lacking.filter((pool) => pool.deficit(nowMs) * 2 > pool.demand.target(nowMs));
  if (short.length === 0) return lacking.length > 0 ? QUIET_MS : undefined;
  if (occupied && !short.some((pool) => pool.isUrgent(nowMs))) {
    if (starting > 0) return undefined;
    if (nowMs < restedAtMs) return restedAtMs - nowMs;
  }
  return short.reduce((a, b) => (b.deficit(nowMs) > a.deficit(nowMs) ? b : a));
}
