/**
 * What this gateway has promised to keep: tickets that were asked for here, and that no node has yet. They are written
 * down in Redis before anybody is told that they wait, and again should Redis lose them.
 */
import { background } from '../../lib/background.ts';
import type { Logger } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { pendingRecord, type SandboxRecord } from '../../protocol/node.ts';
import type { RedisLink } from '../redis/link.ts';
import { endedRecord } from '../sandboxes/entry.ts';
import type { KnownLines } from './known-lines.ts';
import type { Owed } from './owed.ts';
import { noPlaceError, RETRY_AFTER_MS } from './places.ts';
import { weightOf, type Ticket } from './queue.ts';
import type { Tickets } from './tickets.ts';
import type { WaitingRoom } from './waiting-room.ts';

export interface OwnTicketsOptions {
  link: RedisLink;
  room: WaitingRoom;
  tickets: Tickets;
  lines: KnownLines;
  owed: Owed;
  log: Logger;
  /** Tickets that may wait, all tenants and gateways together. */
  max: number;
  /** One waits from now on. */
  onWait: () => void;
  /** See `PlacementQueue.bury`. */
  bury: (record: SandboxRecord) => Promise<void>;
}

export class OwnTickets {
  readonly #options: OwnTicketsOptions;
  readonly #kept = new Map<string, Ticket>();

  constructor(options: OwnTicketsOptions) {
    this.#options = options;
  }

  /** A node has it, or nobody wants it. */
  forget(id: string): void {
    this.#kept.delete(id);
  }

  /**
   * It waits from now on, or never did.
   * @param triedOn the node that may have it all the same
   * @throws ServiceError `capacity_exhausted`, `quota_exceeded`; see `PlacementQueue.add`
   */
  async make(ticket: Ticket, triedOn: string | null): Promise<void> {
    if (!this.#options.link.up) throw awayError();
    try {
      await this.#write(ticket, triedOn);
    } catch (thrown) {
      const { spec } = ticket;
      this.forget(spec.id);
      const error = ServiceError.from(thrown);
      if (error.code !== 'node_unavailable') throw error;
      // Without an answer it may be there all the same: it is taken away again when that can be done.
      const ended = endedRecord(pendingRecord(spec), 'deleted', null, this.#options.link.clock.now());
      background(this.#options.bury(ended), 'take back a ticket', this.#options.log);
      throw awayError();
    }
  }

  /** Whoever asked was told that it will come to be: it waits here for Redis, if it must. Never rejects. */
  async makeInTime(ticket: Ticket, triedOn: string | null): Promise<void> {
    const { id } = ticket.spec;
    this.#kept.set(id, ticket);
    await this.#options.owed.owe(`wait ${id}`, async () => {
      if (this.#kept.has(id)) await this.#write(ticket, triedOn);
    });
  }

  /** A server that lost its last second, or everything, is given back what was promised. */
  renew(): void {
    const { lines, owed } = this.#options;
    for (const [id, ticket] of this.#kept) {
      if (lines.isOpen(id) === false) this.#kept.delete(id);
      else void owed.owe(`wait ${id}`, () => this.#writeBack(id, ticket));
    }
  }

  async #writeBack(id: string, ticket: Ticket): Promise<void> {
    if (this.#kept.has(id) && this.#options.lines.isOpen(id) === true) await this.#write(ticket, null);
  }

  /** May be done again. @throws ServiceError as `make`, `node_unavailable` */
  async #write(ticket: Ticket, triedOn: string | null): Promise<void> {
    const { room, tickets, lines, max, onWait } = this.#options;
    const { spec, priority } = ticket;
    const item = { record: pendingRecord(spec), priority, weight: weightOf(ticket) };
    this.#kept.set(spec.id, ticket);
    if (triedOn !== null) await tickets.tried(spec.id, triedOn);
    const said = await room.announce(item, max);
    if (said === 'full' || said === 'share') {
      throw noPlaceError(said, { max, total: lines.size, own: lines.count(spec.tenant) });
    }
    if (said === 'ended') return;
    await tickets.add(ticket);
    lines.enter(item);
    onWait();
  }
}

/** What a create is told that has to wait where nobody can. */
function awayError(): ServiceError {
  const message = 'No node has room, and the queue that gateways share cannot be reached now.';
  return new ServiceError('capacity_exhausted', message, { retryAfterMs: RETRY_AFTER_MS });
}
