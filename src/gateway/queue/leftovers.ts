/**
 * What Redis lists as waiting although a node has it: a gateway that could not reach Redis has brought it there, or was
 * cut off before it could say so. It would take a place in the queue for good, and be placed again one day, when the
 * nodes have forgotten it. Any gateway that hears of it from the node strikes it out.
 */
import { dropTicket } from './drop-ticket.ts';
import type { QueueParts } from './parts.ts';

/** Within this time whoever has placed it says so. */
const PATIENCE_MS = 5_000;

export class Leftovers {
  readonly #options: QueueParts;
  readonly #suspects = new Map<string, { tenant: string; since: number }>();

  constructor(options: QueueParts) {
    this.#options = options;
  }

  /** A node has it that, as far as this gateway knows, Redis lists still. */
  suspect(id: string, tenant: string): void {
    this.#suspects.set(id, { tenant, since: performance.now() });
  }

  /** Redis does not list it. */
  clear(id: string): void {
    this.#suspects.delete(id);
  }

  /** To be called now and then. */
  look(): void {
    if (!this.#options.link.up) return;
    for (const [id, { tenant, since }] of this.#suspects) {
      if (performance.now() - since < PATIENCE_MS) return;
      this.#suspects.delete(id);
      this.strikeOut(id, tenant);
    }
  }

  /** Redis lists it, and a node has it. */
  strikeOut(id: string, tenant: string): void {
    const { outbox, waitingList } = this.#options;
    void outbox.send(`gone ${id}`, () => waitingList.gone(id));
    dropTicket(this.#options, tenant, id);
  }
}
