/** Whether this gateway takes new work, and what work it still has in hand. */
import { ServiceError } from '../protocol/errors.ts';

export interface Lifecycle {
  readonly draining: boolean;
  /**
   * Counts a piece of work until the returned function is called (more calls do nothing).
   * @throws ServiceError `draining` when none is taken any more.
   */
  begin(): () => void;
  /** As `begin`, for work that has been let in already. */
  track(): () => void;
  /** @throws ServiceError `draining` */
  assertOpen(): void;
  /** Calls the listener once draining begins, unless the returned function is called before. */
  onDrain(listener: () => void): () => void;
  /** No new work from now on. Resolves when there is none left, or after `deadlineMs`. */
  drain(deadlineMs: number): Promise<void>;
}

const RETRY_AFTER_MS = 1_000;

export function createLifecycle(): Lifecycle {
  let draining = false;
  let inHand = 0;
  const listeners = new Set<() => void>();
  const idle = Promise.withResolvers<void>();

  const assertOpen = (): void => {
    if (draining) throw new ServiceError('draining', undefined, { retryAfterMs: RETRY_AFTER_MS });
  };
  const track = (): (() => void) => {
    inHand += 1;
    let done = false;
    return () => {
      if (done) return;
      done = true;
      inHand -= 1;
      if (draining && inHand === 0) idle.resolve();
    };
  };
  return {
    get draining() {
      return draining;
    },
    assertOpen,
    track,
    begin() {
      assertOpen();
      return track();
    },
    onDrain(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    async drain(deadlineMs) {
      if (!draining) {
        draining = true;
        for (const listener of [...listeners]) listener();
        if (inHand === 0) idle.resolve();
      }
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, deadlineMs)));
      await Promise.race([idle.promise, late]);
      clearTimeout(timer);
    },
  };
}
