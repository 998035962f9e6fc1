/** Whether this gateway accepts new work, and how much work it has in progress. */
import { resolvesWithin } from '../lib/deadline.ts';
import { ServiceError } from '../protocol/errors.ts';

export interface Lifecycle {
  readonly draining: boolean;
  /**
   * Counts a piece of work until the returned function is called (more calls do nothing).
   * @throws ServiceError `draining` when no new work is accepted.
   */
  begin(): () => void;
  /** Like `begin`, for work that was already accepted. */
  track(): () => void;
  /** @throws ServiceError `draining` */
  assertOpen(): void;
  /** Calls the listener once draining begins, unless the returned function is called first. */
  onDrain(listener: () => void): () => void;
  /** Calls the listener when a drain's deadline has passed: its work must end now, and its caller must be told. */
  onExpire(listener: () => void): () => void;
  /**
   * Accepts no new work from now on. Resolves when none is left. After `deadlineMs` the `onExpire` listeners are
   * called, and it resolves soon after.
   */
  drain(deadlineMs: number): Promise<void>;
}

const RETRY_AFTER_MS = 1_000;
/** Time for the last answers to be sent after the deadline. */
const FAREWELL_MS = 1_000;

export function createLifecycle(): Lifecycle {
  let draining = false;
  let inHand = 0;
  const drainListeners = new Set<() => void>();
  const expireListeners = new Set<() => void>();
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
    onDrain: (listener) => subscribe(drainListeners, listener),
    onExpire: (listener) => subscribe(expireListeners, listener),
    async drain(deadlineMs) {
      if (!draining) {
        draining = true;
        notify(drainListeners);
        if (inHand === 0) idle.resolve();
      }
      if (await resolvesWithin(idle.promise, deadlineMs)) return;
      notify(expireListeners);
      await resolvesWithin(idle.promise, FAREWELL_MS);
    },
  };
}

function subscribe(listeners: Set<() => void>, listener: () => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

function notify(listeners: ReadonlySet<() => void>): void {
  for (const listener of [...listeners]) listener();
}
