import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Resolves once `done` returns true. Errors of `done` count as "not yet"; the last one is reported on timeout.
 * @param limitMs generous: it bounds a hang, it does not measure speed.
 */
export async function until(done: () => Promise<boolean> | boolean, limitMs: number, what: string): Promise<void> {
  const end = performance.now() + limitMs;
  let last: unknown;
  for (;;) {
    try {
      if (await done()) return;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) {
      throw new Error(`waited ${limitMs} ms for ${what}${last === undefined ? '' : `: ${String(last)}`}`);
    }
    await sleep(50);
  }
}
