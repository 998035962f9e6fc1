/** A timeout that counts only the time during which this process was running. */
import { performance } from 'node:perf_hooks';
import type { Logger } from './logger.ts';

const MAX_TICK_MS = 1_000;
const MIN_TICK_MS = 5;

/**
 * Calls `expire` after `ms` of running time. Time during which the process was stalled or suspended does not count: a
 * late tick adds at most two intervals. An error in `expire` is logged.
 * @returns a function that cancels it
 */
export function setRunningTimeout(ms: number, expire: () => void, log: Logger): () => void {
  const tickMs = Math.min(MAX_TICK_MS, Math.max(MIN_TICK_MS, ms / 10));
  let leftMs = ms;
  let lastAt = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    leftMs -= Math.min(now - lastAt, 2 * tickMs);
    lastAt = now;
    if (leftMs > 0) return;
    clearInterval(timer);
    try {
      expire();
    } catch (error) {
      // An error that escaped a timer would end the process.
      log.error({ err: error }, 'the callback of a timeout failed');
    }
  }, tickMs);
  return () => clearInterval(timer);
}
