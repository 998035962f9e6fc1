/**
 * Tickets that other gateways have taken and are bringing to a node. The places that those need are not free, even if
 * this gateway still sees them: otherwise a younger ticket would now and then get there first.
 */
import type { Logger } from '../../lib/logger.ts';
import type { SandboxRecord } from '../../protocol/node.ts';
import { unlessAway } from '../redis/link.ts';
import type { Known, KnownQueue } from './known-queue.ts';
import type { Tickets } from './tickets.ts';

/**
 * A gateway that dies, or waits for a node that may have the sandbox, holds up younger tickets no longer than this. Nor
 * does a ticket that is taken again and again: it is waited for anew only when it was not seen in other hands for as long.
 */
const PATIENCE_MS = 2_000;
/** Tickets looked at in one go. */
const MAX_LOOKED_AT = 64;

/** Times by `performance.now()`. */
interface Hold {
  /** Who holds it: another one each time that it is taken. */
  readonly by: string;
  readonly since: number;
  /** When it was last found to be held. */
  readonly seen: number;
}

export class Elsewhere {
  readonly #known: KnownQueue;
  readonly #tickets: Tickets;
  readonly #log: Logger;
  /** Those found to be held in this round. */
  readonly #held = new Map<string, SandboxRecord>();
  /** The last hold of each that was found to be held; kept for as long as it waits. */
  readonly #holds = new Map<string, Hold>();

  constructor({ known, tickets, log }: { known: KnownQueue; tickets: Tickets; log: Logger }) {
    this.#known = known;
    this.#tickets = tickets;
    this.#log = log;
  }

  /** What is known of the last round may be over. */
  startRound(): void {
    this.#held.clear();
    for (const id of this.#holds.keys()) if (this.#known.get(id) === undefined) this.#holds.delete(id);
  }

  /** What needs a place before this one. */
  before(one: SandboxRecord): SandboxRecord[] {
    const now = performance.now();
    const isDue = (id: string): boolean =>
      id !== one.id && this.#known.get(id) !== undefined && now - (this.#holds.get(id)?.since ?? now) < PATIENCE_MS;
    return [...this.#held.values()].filter(({ id }) => isDue(id));
  }

  /** Looks which of a tenant's tickets are held. @returns the first that nobody holds */
  async look(tenant: string, older: readonly Known[]): Promise<Known | undefined> {
    const looked = older.slice(0, MAX_LOOKED_AT);
    if (looked.length === 0) return undefined;
    const ids = looked.map(({ id }) => id);
    const held = await unlessAway(this.#tickets.held(tenant, ids), undefined, this.#log);
    if (held === undefined) return undefined;
    const now = performance.now();
    for (const { id, record } of looked) {
      this.#held.delete(id);
      const by = held.get(id);
      if (by === undefined) continue;
      this.#held.set(id, record);
      const last = this.#holds.get(id);
      const goesOn = last !== undefined && (last.by === by || now - last.seen < PATIENCE_MS);
      this.#holds.set(id, { by, since: goesOn ? last.since : now, seen: now });
    }
    return looked.find(({ id }) => !held.has(id));
  }
}
