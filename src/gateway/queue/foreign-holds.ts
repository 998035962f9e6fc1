/**
 * Tickets that other gateways have taken and are bringing to a node. The places they need are not free, even if this
 * gateway still sees them as free: otherwise a younger ticket would now and then overtake them.
 */
import type { Logger } from '../../lib/logger.ts';
import type { SandboxRecord } from '../../protocol/node.ts';
import { unlessAway } from '../redis/link.ts';
import type { QueueEntry, QueueView } from './queue-view.ts';
import type { Tickets } from './tickets.ts';

/**
 * A gateway that dies, or waits for a node that may have the sandbox, holds up younger tickets no longer than this. The
 * same goes for a ticket that is taken again and again: the wait starts over only if nobody was seen to hold it for
 * this long.
 */
const PATIENCE_MS = 2_000;
/** Tickets checked per call. */
const MAX_LOOKED_AT = 64;

/** Times by `performance.now()`. */
interface Hold {
  /** Token of the lock: a new one each time the ticket is taken. */
  readonly by: string;
  readonly since: number;
  /** When it was last found held. */
  readonly seen: number;
}

export class ForeignHolds {
  readonly #view: QueueView;
  readonly #tickets: Tickets;
  readonly #log: Logger;
  /** Tickets found held in this round. */
  readonly #held = new Map<string, SandboxRecord>();
  /** The last hold of each ticket that was found held; kept for as long as the ticket waits. */
  readonly #holds = new Map<string, Hold>();

  constructor({ view, tickets, log }: { view: QueueView; tickets: Tickets; log: Logger }) {
    this.#view = view;
    this.#tickets = tickets;
    this.#log = log;
  }

  /** Forgets what was found in the last round: it may be out of date. */
  startRound(): void {
    this.#held.clear();
    for (const id of this.#holds.keys()) if (this.#view.get(id) === undefined) this.#holds.delete(id);
  }

  /** Tickets that need a place before this one. */
  before(one: SandboxRecord): SandboxRecord[] {
    const now = performance.now();
    const isDue = (id: string): boolean =>
      id !== one.id && this.#view.get(id) !== undefined && now - (this.#holds.get(id)?.since ?? now) < PATIENCE_MS;
    return [...this.#held.values()].filter(({ id }) => isDue(id));
  }

  /** Checks which of a tenant's tickets are held. @returns the first that nobody holds */
  async refresh(tenant: string, older: readonly QueueEntry[]): Promise<QueueEntry | undefined> {
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
