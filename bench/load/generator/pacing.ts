/** Start times of the calls in an open loop. */
import { sleep } from '../../../src/lib/deadline.ts';

export interface OpenLoopOptions {
  /** Intended starts after `startedAt`, in milliseconds, ascending. */
  arrivals: Iterable<number>;
  /** On the clock of `performance.now()`. */
  startedAt: number;
  /**
   * Maximum number of calls in flight, so that memory is bounded. Further calls wait for their turn, and that wait is
   * part of their time, which counts from the intended start.
   */
  maxUnderWay: number;
  /** Never rejects. @param intendedAt the intended start: the call's time counts from there. */
  call: (intendedAt: number, index: number) => Promise<void>;
  /** Called with how late a call began because of the generator itself: its timers, its load. */
  late?: (ms: number) => void;
}

/**
 * Begins each call at its time, however long the others take. So a service that stalls for a second causes a second's
 * worth of late calls, not one (that would be coordinated omission). Resolves when all have ended.
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
