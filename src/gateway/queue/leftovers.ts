/**
 * Sandboxes that Redis lists as waiting although a node has them: a gateway placed one while it could not reach Redis,
 * or was cut off before it could report that. It would take up a place in the queue for good, and be placed again one
 * day, once the nodes have forgotten it. Any gateway that learns of it from the node removes it from the list.
 */
import { dropTicket } from './drop-ticket.ts';
import type { QueueParts } from './parts.ts';

/** Within this time the gateway that placed it reports that. */
const PATIENCE_MS = 5_000;

export class Leftovers {
  readonly #options: QueueParts;
  readonly #suspects = new Map<string, { tenant: string; since: number }>();

  constructor(options: QueueParts) {
    this.#options = options;
  }

  /** A node has it but, as far as this gateway knows, Redis still lists it. */
  suspect(id: string, tenant: string): void {
    this.#suspects.set(id, { tenant, since: performance.now() });
  }

  /** Redis no longer lists it. */
  clear(id: string): void {
    this.#suspects.delete(id);
  }

  /** Call this periodically. */
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
