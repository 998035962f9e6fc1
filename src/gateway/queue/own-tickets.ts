/**
 * Tickets that this gateway accepted and that no node has yet. They are written to Redis before the client's create is
 * answered, and written again if Redis loses them.
 */
import { randomUUID } from 'node:crypto';
import { ServiceError } from '../../protocol/errors.ts';
import { pendingRecord, type SandboxRecord } from '../../protocol/node.ts';
import { isAway, unavailable } from '../redis/link.ts';
import { endedRecord, TAKEN_BACK } from '../sandboxes/entry.ts';
import type { QueueParts } from './parts.ts';
import { queueRefusedError, RETRY_AFTER_MS } from './fair-share.ts';
import { weightOf, type CreateContext, type Ticket } from './queue.ts';
import type { WaitingItem } from './waiting-list.ts';

export interface OwnTicketsOptions extends QueueParts {
  /** Tickets that may wait, over all tenants and gateways. */
  max: number;
  /** Called when another ticket starts waiting. */
  onWait: () => void;
  /** Called with the final record of a sandbox that was taken back. */
  onEnded: (record: SandboxRecord) => void;
}

interface Kept {
  ticket: Ticket;
  /** A node it was sent to with an unknown outcome. */
  triedOn: string | null;
  /** See `CreateContext`. */
  keyed: boolean;
}

export class OwnTickets {
  readonly #options: OwnTicketsOptions;
  readonly #kept = new Map<string, Kept>();
  /** Taken back, while Redis has not answered whether they have ended for good or their ids may be used again. */
  readonly #unsettled = new Set<string>();
  readonly #me = randomUUID();

  constructor(options: OwnTicketsOptions) {
    this.#options = options;
  }

  has(id: string): boolean {
    return this.#kept.has(id);
  }

  /** Whether it was taken back, and it is not known yet whether that ended it. */
  isUnsettled(id: string): boolean {
    return this.#unsettled.has(id);
  }

  /** A node has it, or nobody wants it any more. */
  forget(id: string): void {
    this.#kept.delete(id);
  }

  /**
   * Enqueues the ticket; on an error it does not wait. If Redis is away and a node (`triedOn`) may have the sandbox,
   * the ticket is kept here until Redis is back: withdrawing it would end the sandbox that a retry of its key finds on
   * that node. The same holds if nodes may have other sandboxes of the same create, which another gateway may have
   * accepted before Redis was lost, or has accepted without Redis since.
   * @throws ServiceError `capacity_exhausted`, `quota_exceeded`; see `PlacementQueue.add`
   */
  async enqueue(ticket: Ticket, context: CreateContext, triedOn: string | null = null): Promise<void> {
    const kept = this.#keep(ticket, triedOn, context.keyed);
    // Even without an answer the ticket may be in Redis: remove it as soon as possible.
    await this.#writeOrRefuse(kept, context, () => this.#withdraw(kept));
  }

  /** As `enqueue`, for a create that has its answer: while Redis is away, the ticket waits here. Never rejects. */
  async enqueueInTime(ticket: Ticket, triedOn: string | null): Promise<void> {
    await this.#writeInTime(this.#keep(ticket, triedOn));
  }

  /** Keeps a ticket that already waits at another gateway here too. @throws ServiceError as `enqueue` */
  async share(ticket: Ticket, context: CreateContext): Promise<void> {
    if (this.#kept.has(ticket.spec.id)) return;
    await this.#writeOrRefuse(this.#keep(ticket, null), context);
  }

  /**
   * Takes back a ticket that was enqueued. Null: there is none. The key of its create is leased to this gateway until
   * the promise resolves: if Redis answers at once, nobody else can have asked for it, and its sandbox ends for good.
   * Otherwise it is withdrawn later.
   * @returns resolves once it is known which, or Redis did not answer; see `isUnsettled`
   */
  takeBack(id: string): Promise<void> | null {
    const kept = this.#kept.get(id);
    if (kept === undefined) return null;
    this.forget(id);
    if (!this.#options.link.up) {
      this.#withdraw(kept);
      return Promise.resolve();
    }
    const tried = Promise.withResolvers<void>();
    const ended = this.#takenBack(kept);
    let isLeased = true;
    this.#unsettled.add(id);
    const removed = this.#options.outbox.send(`withdraw ${id}`, () => {
      const removal = this.#remove(kept, ended, isLeased);
      isLeased = false;
      return removal.finally(tried.resolve);
    });
    void removed.then(() => this.#unsettled.delete(id));
    return tried.promise;
  }

  /** Writes the tickets again, for a Redis that lost its last second or everything. */
  renewAll(): void {
    for (const id of this.#kept.keys()) this.renew(id);
  }

  /** As `renewAll`, for one ticket. */
  renew(id: string): void {
    const kept = this.#kept.get(id);
    if (kept === undefined) return;
    if (this.#options.view.isOpen(id) === false) this.#kept.delete(id);
    else void this.#writeInTime(kept);
  }

  /** @param unanswered called before the ticket is refused because Redis did not answer */
  async #writeOrRefuse(
    kept: Kept,
    { isBatch, isUnchecked, keyed, begun }: CreateContext,
    unanswered: () => void = () => undefined,
  ): Promise<void> {
    const { link, view } = this.#options;
    const { ticket, triedOn } = kept;
    const { id } = ticket.spec;
    const asks = link.up;
    try {
      if (!asks) throw unavailable();
      await this.#write(kept);
    } catch (thrown) {
      // Another gateway has placed it meanwhile.
      if (view.isPlaced(id)) return this.forget(id);
      const away = isAway(thrown);
      const mayBeAccepted = isUnchecked || (away && (!asks || (keyed && begun())));
      if ((isBatch && mayBeAccepted) || (away && triedOn !== null)) {
        // Not awaited: the create is being answered.
        return void this.enqueueInTime(ticket, triedOn);
      }
      this.forget(id);
      if (!away) throw thrown;
      if (asks) unanswered();
      throw awayError();
    }
  }

  #keep(ticket: Ticket, triedOn: string | null, keyed = true): Kept {
    const kept = { ticket, triedOn, keyed };
    this.#kept.set(ticket.spec.id, kept);
    return kept;
  }

  /** Never rejects. */
  #writeInTime(kept: Kept): Promise<void> {
    const { outbox, view } = this.#options;
    const { id } = kept.ticket.spec;
    return outbox.send(`wait ${id}`, async () => {
      if (this.#kept.get(id) === kept && view.isOpen(id) === true) await this.#write(kept);
    });
  }

  /** Idempotent. @throws ServiceError as `enqueue`, `node_unavailable` */
  async #write(kept: Kept): Promise<void> {
    const { waitingList, tickets, view, max, onWait } = this.#options;
    const { ticket, triedOn } = kept;
    const { spec } = ticket;
    const item = this.#item(ticket);
    if (triedOn !== null) await tickets.tried(spec.id, triedOn);
    const answer = await waitingList.announce(item, max);
    if (answer === 'full' || answer === 'share') {
      throw queueRefusedError(answer, { max, total: view.size, own: view.count(spec.tenant) });
    }
    if (answer === 'ended') return;
    await tickets.add(ticket);
    // A node has meanwhile reported that it has it.
    if (view.isPlaced(spec.id)) await tickets.drop(spec.tenant, spec.id);
    view.enter(item);
    onWait();
  }

  #item(ticket: Ticket): WaitingItem {
    const { spec, priority } = ticket;
    return { record: pendingRecord(spec), priority, weight: weightOf(ticket), by: this.#me };
  }

  /** Removes a refused ticket as soon as Redis answers. The key of its create may be leased to another by then. */
  #withdraw(kept: Kept): void {
    const { outbox } = this.#options;
    const ended = this.#takenBack(kept);
    void outbox.send(`withdraw ${ended.id}`, () => this.#remove(kept, ended, false));
  }

  /** Its final record. */
  #takenBack({ ticket }: Kept): SandboxRecord {
    return endedRecord(pendingRecord(ticket.spec), 'deleted', TAKEN_BACK, this.#options.link.clock.now());
  }

  /**
   * Removes a ticket from Redis, unless somebody has asked for it again since.
   * @param isLeased nobody else can have asked for it: its sandbox ends
   * @throws ServiceError `node_unavailable`
   */
  async #remove({ ticket, keyed }: Kept, ended: SandboxRecord, isLeased: boolean): Promise<void> {
    const { waitingList, tickets } = this.#options;
    const { id, tenant } = ticket.spec;
    if (this.#kept.has(id)) return;
    const waited = isLeased
      ? await waitingList.endIfWaiting(ended, this.#me)
      : await waitingList.withdraw(ended, this.#me);
    // Another gateway has placed it on a node, where nobody will ask for it.
    const isUnwanted = (isLeased || !keyed) && !waited && (await tickets.wasSent(id));
    if (isUnwanted) await waitingList.end(ended);
    if (this.#unsettled.has(id)) await this.#settle(id);
    if (isUnwanted || (await waitingList.holds(id))) return;
    await tickets.drop(tenant, id);
    // It was asked for again in between, by a gateway that found the ticket still there: put it back.
    if (await waitingList.holds(id)) await tickets.add(ticket);
  }

  /**
   * Learns from Redis whether it has ended. The message to all gateways may come too late: without Redis, this one would
   * use its id again, and the others another one. @throws ServiceError `node_unavailable`
   */
  async #settle(id: string): Promise<void> {
    const ended = await this.#options.waitingList.endOf(id);
    this.#unsettled.delete(id);
    if (ended !== undefined) this.#options.onEnded(ended);
  }
}

/** The error of a create that would have to wait while nothing can be enqueued. */
export function awayError(): ServiceError {
  const message = 'no node has room, and nothing can be queued, because Redis cannot be reached right now';
  return new ServiceError('capacity_exhausted', message, { retryAfterMs: RETRY_AFTER_MS });
}

/** The error of a create whose key was turned down a moment ago, while it is not known which ids it has now. */
export function unsettledError(): ServiceError {
  const message =
    'an earlier create with this key was withdrawn, and Redis cannot be reached right now to tell what became of it';
  return new ServiceError('capacity_exhausted', message, { retryAfterMs: RETRY_AFTER_MS });
}
