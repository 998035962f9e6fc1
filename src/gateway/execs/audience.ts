/**
 * Who waits for a command that has an idempotency key. A client whose connection broke may come back with the same key
 * and finds its command running; one that has given up does not come, and the command is killed a little later.
 */
import { ServiceError } from '../../protocol/errors.ts';

interface Seats {
  taken: number;
  leaving: NodeJS.Timeout | undefined;
  controller: AbortController;
}

export interface Seat {
  /** Fires when nobody has been waiting for `graceMs`. Shared by all who wait. */
  signal: AbortSignal;
  leave(): void;
}

export class Audiences {
  readonly #graceMs: number;
  readonly #byKey = new Map<string, Seats>();

  constructor(graceMs: number) {
    this.#graceMs = graceMs;
  }

  /** @param gone fires when this one waits no more; `leave` says so too. */
  join(key: string, gone: AbortSignal | undefined): Seat {
    let seats = this.#byKey.get(key);
    if (seats === undefined) {
      seats = { taken: 0, leaving: undefined, controller: new AbortController() };
      this.#byKey.set(key, seats);
    }
    const mine = seats;
    clearTimeout(mine.leaving);
    mine.taken += 1;
    let left = false;
    const stand = (done: boolean): void => {
      if (left) return;
      left = true;
      gone?.removeEventListener('abort', onGone);
      mine.taken -= 1;
      if (mine.taken === 0) this.#empty(key, mine, done);
    };
    const onGone = (): void => stand(false);
    gone?.addEventListener('abort', onGone, { once: true });
    if (gone?.aborted) stand(false);
    return { signal: mine.controller.signal, leave: () => stand(true) };
  }

  #empty(key: string, seats: Seats, done: boolean): void {
    const close = (): void => {
      if (this.#byKey.get(key) === seats) this.#byKey.delete(key);
      if (!done) seats.controller.abort(new ServiceError('cancelled'));
    };
    if (done) close();
    else seats.leaving = setTimeout(close, this.#graceMs).unref();
  }
}
