/**
 * Where requests to a node wait while its link is crowded: on the link they would be ahead of all others, and in the end
 * there would be no room for those of other tenants.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { orAbort } from '../../lib/deadline.ts';
import { Line } from '../../lib/line.ts';

/** The link as far as it matters here. */
interface Road {
  readonly crowded: boolean;
  room(): Promise<void>;
}

export class RequestLine {
  readonly #road: () => Road | null;
  readonly #line = new Line();
  #serving = false;

  /** @param road null: there is no link, and nobody waits for it here */
  constructor(road: () => Road | null) {
    this.#road = road;
  }

  /** Whether a request would have to wait. */
  get isBusy(): boolean {
    return this.#serving || this.#road()?.crowded === true;
  }

  /**
   * Resolves when the caller may send its request, and should do so without a pause. Tenants take turns.
   * @throws the signal's reason
   */
  async turn(tenant: string, signal: AbortSignal): Promise<void> {
    if (!this.isBusy) return;
    const turn = Promise.withResolvers<void>();
    const leave = this.#line.enter(tenant, turn.resolve);
    if (!this.#serving) void this.#serve();
    try {
      await orAbort(signal, turn.promise);
    } finally {
      leave();
    }
  }

  async #serve(): Promise<void> {
    this.#serving = true;
    for (;;) {
      for (let road = this.#road(); road?.crowded === true; road = this.#road()) await road.room();
      const begin = this.#line.take();
      if (begin === undefined) break;
      begin();
      // By then its request is on the link, and counts.
      await nextTurn();
    }
    this.#serving = false;
  }
}
