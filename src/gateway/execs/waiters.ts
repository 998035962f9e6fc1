/**
 * The callers that wait for a command with an idempotency key. A client whose connection broke may come back with the
 * same key and find its command still running. If nobody comes back, the command is killed after a grace period.
 */
import { ServiceError } from '../../protocol/errors.ts';

/** All callers of one key. */
interface Group {
  size: number;
  /** Runs while the group is empty. */
  grace: NodeJS.Timeout | undefined;
  controller: AbortController;
}

export interface Waiter {
  /** Fires when nobody has been waiting for `graceMs`. Shared by all waiters of a key. */
  signal: AbortSignal;
  /** The call is done: this caller no longer waits. */
  leave(): void;
}

export class ExecWaiters {
  readonly #graceMs: number;
  readonly #groups = new Map<string, Group>();

  constructor(graceMs: number) {
    this.#graceMs = graceMs;
  }

  /** @param gone fires when this caller has disconnected before it called `leave`. */
  join(key: string, gone: AbortSignal | undefined): Waiter {
    const group = this.#groupOf(key);
    clearTimeout(group.grace);
    group.size += 1;
    let left = false;
    const leave = (done: boolean): void => {
      if (left) return;
      left = true;
      gone?.removeEventListener('abort', onGone);
      group.size -= 1;
      if (group.size > 0) return;
      if (done) this.#remove(key, group);
      else group.grace = setTimeout(() => this.#abandon(key, group), this.#graceMs).unref();
    };
    const onGone = (): void => leave(false);
    gone?.addEventListener('abort', onGone, { once: true });
    if (gone?.aborted) leave(false);
    return { signal: group.controller.signal, leave: () => leave(true) };
  }

  #groupOf(key: string): Group {
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = { size: 0, grace: undefined, controller: new AbortController() };
      this.#groups.set(key, group);
    }
    return group;
  }

  #abandon(key: string, group: Group): void {
    this.#remove(key, group);
    group.controller.abort(new ServiceError('cancelled'));
  }

  #remove(key: string, group: Group): void {
    if (this.#groups.get(key) === group) this.#groups.delete(key);
  }
}
