/**
 * Which pool the next container is started for: claims before refills. While claims arrive, refills are few, and only
 * for pools that are half empty (docs/adr/0004).
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
}

/**
 * The pool with the oldest unserved claim; without one, the pool with the largest deficit. `later`: some pools lack
 * containers, but must wait until no claim has come for `QUIET_MS`.
 */
export function nextToStart(pools: readonly Pool[], starts: Starts): Pool | 'later' | undefined {
  const { nowMs, claimedAtMs, starting, atOnce, refills } = starts;
  if (starting >= atOnce) return undefined;
  const claimed = pools.filter((pool) => pool.unserved() > 0);
  if (claimed.length > 0) return claimed.reduce((a, b) => (b.waitingSince < a.waitingSince ? b : a));
  const sinceClaimMs = nowMs - claimedAtMs;
  const most = sinceClaimMs >= BUSY_MS ? atOnce : Math.max(1, Math.floor(atOnce / BUSY_SHARE));
  if (!refills || starting >= most) return undefined;
  const lacking = pools.filter((pool) => pool.deficit(nowMs) > 0);
  const quiet = sinceClaimMs >= QUIET_MS;
  const short = quiet ? lacking : lacking.filter((pool) => pool.deficit(nowMs) * 2 > pool.demand.target(nowMs));
  if (short.length > 0) return short.reduce((a, b) => (b.deficit(nowMs) > a.deficit(nowMs) ? b : a));
  return lacking.length > 0 ? 'later' : undefined;
}
