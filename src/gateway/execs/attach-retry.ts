/**
 * Only one reader at a time can be attached to a command; attaching takes it away from the reader before. So those who read
 * the output of an ended command wait for each other, across gateways, and for a client that is still reading it.
 */
import { backoffMs } from '../../lib/backoff.ts';
import { sleep } from '../../lib/deadline.ts';
import { ServiceError } from '../../protocol/errors.ts';

/** Another reader is attached at the moment. */
export class AttachConflict extends ServiceError {
  override readonly name = 'AttachConflict';

  constructor() {
    super('invalid_request', 'another client is attached to this command and receives its output');
  }
}

const PATIENCE_MS = 10_000;
const BACKOFF = { firstMs: 4, maxMs: 250 };

/** Retries `read` while another reader is attached. @throws what `read` throws; `AttachConflict` after 10 s. */
export async function retryWhileAttached<T>(read: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const until = performance.now() + PATIENCE_MS;
  for (let tries = 1; ; tries++) {
    try {
      return await read();
    } catch (error) {
      const others = error instanceof AttachConflict || wasTaken(error);
      if (!others || signal?.aborted) throw error;
      if (performance.now() > until) throw new AttachConflict();
    }
    // Jitter, so that readers that collided do not collide again.
    await sleep(backoffMs(BACKOFF, tries) * (0.5 + Math.random()), signal);
  }
}

/** Another reader attached while we were reading. */
const wasTaken = (error: unknown): boolean => error instanceof ServiceError && error.code === 'cancelled';
