/**
 * What this gateway has promised to keep: tickets that were asked for here, and that no node has yet. They are written
 * down in Redis before anybody is told that they wait, and again should Redis lose them.
 */
import { randomUUID } from 'node:crypto';
import { background } from '../../lib/background.ts';
import type { Logger } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { pendingRecord } from '../../protocol/node.ts';
import { unavailable, type RedisLink } from '../redis/link.ts';
import { endedRecord } from '../sandboxes/entry.ts';
import type { KnownLines } from './known-lines.ts';
import type { Owed } from './owed.ts';
import { noPlaceError, RETRY_AFTER_MS } from './places.ts';
import { weightOf, type Ticket } from './queue.ts';
import type { Tickets } from './tickets.ts';
import type { WaitingItem, WaitingRoom } from './waiting-room.ts';

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
}

interface Kept {
  ticket: Ticket;
  /** The node that it was sent to with an outcome that nobody knows. */
  triedOn: string | null;
}

export class OwnTickets {
  readonly #options: OwnTicketsOptions;
  readonly #kept = new Map<string, Kept>();
  readonly #me = randomUUID();

  constructor(options: OwnTicketsOptions) {
    this.#options = options;
  }

  has(id: string): boolean {
    return this.#kept.has(id);
  }

  /** A node has it, or nobody wants it. */
  forget(id: string): void {
    this.#kept.delete(id);
  }

  /**
   * It waits from now on, or never did. With a node that may have it, `triedOn`, and without Redis, it waits here for
   * Redis: to take it back would end what a retry of its key finds on that node, through whichever gateway.
   * @throws ServiceError `capacity_exhausted`, `quota_exceeded`; see `PlacementQueue.add`
   */
  async make(ticket: Ticket, triedOn: string | null): Promise<void> {
    const { link, log } = this.#options;
    const kept = this.#keep(ticket, triedOn);
    const asks = link.up;
    try {
      if (!asks) throw unavailable();
      await this.#write(kept);
    } catch (thrown) {
      const error = ServiceError.from(thrown);
      const away = error.code === 'node_unavailable';
      if (away && triedOn !== null) return await this.makeInTime(ticket, triedOn);
      this.forget(ticket.spec.id);
      if (!away) throw error;
      // Without an answer it may be there all the same: it is taken away again when that can be done.
      if (asks) background(this.#withdraw(kept), 'take back a ticket', log);
      throw awayError();
    }
  }

  /** Whoever asked was told that it will come to be: it waits here for Redis, if it must. Never rejects. */
  async makeInTime(ticket: Ticket, triedOn: string | null): Promise<void> {
    const kept = this.#keep(ticket, triedOn);
    await this.#owe(ticket.spec.id, kept);
  }

  /** It waits already, for another gateway too. @throws ServiceError as `make` */
  async share(ticket: Ticket): Promise<void> {
    if (this.#kept.has(ticket.spec.id)) return;
    const kept = this.#keep(ticket, null);
    try {
      if (!this.#options.link.up) throw unavailable();
      await this.#write(kept);
    } catch (thrown) {
      this.forget(ticket.spec.id);
      const error = ServiceError.from(thrown);
      throw error.code === 'node_unavailable' ? awayError() : error;
    }
  }

  /** A server that lost its last second, or everything, is given back what was promised. */
  renewAll(): void {
    for (const id of this.#kept.keys()) this.renew(id);
  }

  /** The same of one. */
  renew(id: string): void {
    const kept = this.#kept.get(id);
    if (kept === undefined) return;
    if (this.#options.lines.isOpen(id) === false) this.#kept.delete(id);
    else void this.#owe(id, kept);
  }

  #keep(ticket: Ticket, triedOn: string | null): Kept {
    const kept = { ticket, triedOn };
    this.#kept.set(ticket.spec.id, kept);
    return kept;
  }

  #owe(id: string, kept: Kept): Promise<void> {
    const { owed, lines } = this.#options;
    return owed.owe(`wait ${id}`, async () => {
      if (this.#kept.get(id) === kept && lines.isOpen(id) === true) await this.#write(kept);
    });
  }

  /** May be done again. @throws ServiceError as `make`, `node_unavailable` */
  async #write(kept: Kept): Promise<void> {
    const { room, tickets, lines, max, onWait } = this.#options;
    const { ticket, triedOn } = kept;
    const { spec } = ticket;
    const item = this.#item(ticket);
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

  #item(ticket: Ticket): WaitingItem {
    const { spec, priority } = ticket;
    return { record: pendingRecord(spec), priority, weight: weightOf(ticket), by: this.#me };
  }

  /** It waits for nobody any more, unless somebody else has asked for it since. Never rejects. */
  async #withdraw({ ticket }: Kept): Promise<void> {
    const { room, tickets, owed, link } = this.#options;
    const { id, tenant } = ticket.spec;
    const ended = endedRecord(pendingRecord(ticket.spec), 'deleted', null, link.clock.now());
    await owed.owe(`withdraw ${id}`, async () => {
      if (this.#kept.has(id)) return;
      await room.withdraw(ended, this.#me);
      if (await room.holds(id)) return;
      await tickets.drop(tenant, id);
      // Asked for again in between: whoever did found the ticket there still.
      if (await room.holds(id)) await tickets.add(ticket);
    });
  }
}

/** What a create is told that has to wait where nobody can. */
function awayError(): ServiceError {
  const message = 'No node has room, and the queue that gateways share cannot be reached now.';
  return new ServiceError('capacity_exhausted', message, { retryAfterMs: RETRY_AFTER_MS });
}
