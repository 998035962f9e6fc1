/** When calls begin in an open loop. */
import { sleep } from '../../../src/lib/deadline.ts';

export interface OpenLoopOptions {
  /** Intended starts after `startedAt`, in milliseconds; they rise. */
  arrivals: Iterable<number>;
  /** On the clock of `performance.now()`. */
  startedAt: number;
  /**
   * Calls under way at once, so that memory is bounded. Calls beyond wait for their turn, and that wait is a part of
   * their time, since it is counted from the intended start.
   */
  maxUnderWay: number;
  /** Never rejects. @param intendedAt when it was meant to begin: its time is counted from there. */
  call: (intendedAt: number, index: number) => Promise<void>;
  /** How late a call began for the generator's own reasons: its timers, its load. */
  late?: (ms: number) => void;
}

/**
 * Begins each call at its time, however long the others take. A service that stands still for a second so gets a
 * second's worth of late calls, not one (that would be coordinated omission). Resolves when all have ended.
 */
export async function openLoop(options: OpenLoopOptions): Promise<void> {
  const { arrivals, startedAt, maxUnderWay, call, late } = options;
  let index = 0;
  let underWay = 0;
  let freed = Promise.withResolvers<void>();
  const begin = async (intendedAt: number): Promise<void> => {
    underWay += 1;
    await call(intendedAt, index++);
    underWay -= 1;
    freed.resolve();
    freed = Promise.withResolvers();
  };
  for (const offset of arrivals) {
    const intendedAt = startedAt + offset;
    await sleepUntil(intendedAt);
    const waited = underWay >= maxUnderWay;
    while (underWay >= maxUnderWay) await freed.promise;
    if (!waited) late?.(performance.now() - intendedAt);
    void begin(intendedAt);
  }
  while (underWay > 0) await freed.promise;
}

/** Never wakes early; timers may. */
export async function sleepUntil(at: number): Promise<void> {
  for (;;) {
    const left = at - performance.now();
    if (left <= 0) return;
    await sleep(Math.ceil(left));
  }
}
