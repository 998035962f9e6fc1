/**
 * One at a time listens to a command: whoever attaches takes it from the one before. So readers of what has ended wait for
 * each other, on whichever gateway they are, and for a client that has not yet taken all of it.
 */
import { sleep } from '../../lib/deadline.ts';
import { ServiceError } from '../../protocol/errors.ts';

/** Somebody else listens at the moment. */
export class NotYourTurn extends ServiceError {
  override readonly name = 'NotYourTurn';

  constructor() {
    super('invalid_request', 'Another client is attached to this command and receives its output.');
  }
}

const PATIENCE_MS = 10_000;
const FIRST_PAUSE_MS = 4;
const MAX_PAUSE_MS = 250;

/** Tries again while others are first. @throws what `read` throws; `NotYourTurn` when they stay (10 s). */
export async function inTurn<T>(read: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const until = performance.now() + PATIENCE_MS;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(MAX_PAUSE_MS, pauseMs * 2)) {
    try {
      return await read();
    } catch (error) {
      const others = error instanceof NotYourTurn || wasTaken(error);
      if (!others || signal?.aborted) throw error;
      if (performance.now() > until) throw new NotYourTurn();
    }
    // Chance, so that those who came together do not meet again.
    await sleep(pauseMs * (0.5 + Math.random()), signal);
  }
}

const wasTaken = (error: unknown): boolean => error instanceof ServiceError && error.code === 'cancelled';
