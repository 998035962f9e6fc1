/**
 * Tickets that other gateways have taken and are bringing to a node. The places that those need are not free, even if
 * this gateway still sees them: otherwise a younger ticket would now and then get there first.
 */
import type { SandboxRecord } from '../../protocol/node.ts';
import type { Known, KnownQueue } from './known-queue.ts';
import type { Tickets } from './tickets.ts';

/** A gateway that dies, or waits for a node that may have the sandbox, holds up younger tickets no longer than this. */
const PATIENCE_MS = 2_000;
/** Tickets looked at in one go. */
const MAX_LOOKED_AT = 64;

export class Elsewhere {
  readonly #known: KnownQueue;
  readonly #tickets: Tickets;
  /** Those found to be held in this round. */
  readonly #held = new Map<string, SandboxRecord>();
  /** When each was first found to be held, by `performance.now()`; kept for as long as it waits. */
  readonly #since = new Map<string, number>();

  constructor({ known, tickets }: { known: KnownQueue; tickets: Tickets }) {
    this.#known = known;
    this.#tickets = tickets;
  }

  /** What is known of the last round may be over. */
  startRound(): void {
    this.#held.clear();
    for (const id of this.#since.keys()) if (this.#known.get(id) === undefined) this.#since.delete(id);
  }

  /** What needs a place before this one. */
  before(one: SandboxRecord): SandboxRecord[] {
    const now = performance.now();
    const isDue = (id: string): boolean =>
      id !== one.id && this.#known.get(id) !== undefined && now - (this.#since.get(id) ?? now) < PATIENCE_MS;
    return [...this.#held.values()].filter(({ id }) => isDue(id));
  }

  /** Looks which of a tenant's tickets are held. @returns the first that nobody holds */
  async look(tenant: string, older: readonly Known[]): Promise<Known | undefined> {
    const looked = older.slice(0, MAX_LOOKED_AT);
    if (looked.length === 0) return undefined;
    const ids = looked.map(({ id }) => id);
    const held = await this.#tickets.held(tenant, ids).catch(() => undefined);
    if (held === undefined) return undefined;
    for (const { id, record } of looked) {
      this.#held.delete(id);
      if (!held.has(id)) continue;
      this.#held.set(id, record);
      if (!this.#since.has(id)) this.#since.set(id, performance.now());
    }
    return looked.find(({ id }) => !held.has(id));
  }
}
