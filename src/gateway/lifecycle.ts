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
  /** Calls the listener when a drain's deadline is over: the work it stands for is to be let go of, with a word. */
  onExpire(listener: () => void): () => void;
  /**
   * No new work from now on. Resolves when there is none left; after `deadlineMs` those who wait for it are told, and
   * it resolves as soon as they have been.
   */
  drain(deadlineMs: number): Promise<void>;
}

const RETRY_AFTER_MS = 1_000;
/** For the last words to leave. */
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
        tell(drainListeners);
        if (inHand === 0) idle.resolve();
      }
      if (await within(idle.promise, deadlineMs)) return;
      tell(expireListeners);
      await within(idle.promise, FAREWELL_MS);
    },
  };
}

function subscribe(listeners: Set<() => void>, listener: () => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

function tell(listeners: ReadonlySet<() => void>): void {
  for (const listener of [...listeners]) listener();
}

/** Whether it came within `ms`. */
async function within(promise: Promise<void>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => (timer = setTimeout(() => resolve(false), ms)));
  const came = await Promise.race([promise.then(() => true), late]);
  clearTimeout(timer);
  return came;
}
