/** A timeout that counts only the time in which this process ran. */
import { performance } from 'node:perf_hooks';

const MAX_TICK_MS = 1_000;
const MIN_TICK_MS = 5;

/**
 * Calls `ring` after `ms`, less whatever the process stood still meanwhile: of a tick that came late only what it should
 * have taken is counted. Neither a stalled event loop nor a step of the clock brings it early. `ring` must not throw.
 * @returns what calls it off
 */
export function afterAwake(ms: number, ring: () => void): () => void {
  const tickMs = Math.min(MAX_TICK_MS, Math.max(MIN_TICK_MS, ms / 10));
  let leftMs = ms;
  let lastAt = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    leftMs -= Math.min(now - lastAt, 2 * tickMs);
    lastAt = now;
    if (leftMs > 0) return;
    clearInterval(timer);
    ring();
  }, tickMs);
  return () => clearInterval(timer);
}
