/**
 * The queue of several gateways. What fits goes straight to a node without asking Redis. What must wait is stored in
 * Redis, and whichever gateway sees room takes it; tenants take turns by weight. While Redis is away nothing can be
 * enqueued or taken; what already waits is still there afterwards.
 */
import { background } from '../../lib/background.ts';
import { pause, resolvesWithin } from '../../lib/deadline.ts';
import type { Logger } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { SandboxRecord, SandboxSpec } from '../../protocol/node.ts';
import type { RedisLink } from '../redis/link.ts';
import { endedRecord } from '../sandboxes/entry.ts';
import { EndedRecords } from './ended-records.ts';
import { QueueView } from './queue-view.ts';
import { Leftovers } from './leftovers.ts';
import { Outbox } from '../redis/outbox.ts';
import { WaitTimeouts } from './wait-timeouts.ts';
import { awayError, OwnTickets, unsettledError } from './own-tickets.ts';
import type { CreateContext, Offer, Outcome, PlacementQueue, QueueHooks, Ticket } from './queue.ts';
import { Dispatcher } from './dispatcher.ts';
import type { Tickets } from './tickets.ts';
import type { WaitingItem, WaitingList } from './waiting-list.ts';

export interface SharedQueueOptions {
  link: RedisLink;
  waitingList: WaitingList;
  tickets: Tickets;
  log: Logger;
  /** Tickets that may wait, over all tenants and gateways; see fair-share.ts. */
  max: number;
  /** How often to look for tickets of dead gateways. */
  recoverMs: number;
}

/** Waiting tickets are checked this often even when no node reports anything. */
const RECHECK_MS = 1_000;
/** Time allowed for the tickets in hand when the gateway stops. */
const STOP_MS = 5_000;
/** Within this time a live gateway rewrites what Redis lost, and nodes report what they have. */
const ORPHAN_MS = 15_000;
/**
 * Within this time a node reports what it has taken. If it takes longer, no harm is done: its report brings back a
 * forgotten sandbox.
 */
const MISSING_MS = 5_000;
const NO_CONTEXT: CreateContext = { isBatch: false, isUnchecked: false, keyed: true, begun: () => false };
/** A create is answered after this long even if its node, or Redis when it is withdrawn, has not confirmed it. */
const ANSWER_MS = 2_000;
/** For a gateway that has just found Redis. If it takes longer, it goes on with what it knows. */
const INFORMED_MS = 5_000;

export class SharedQueue implements PlacementQueue {
  readonly #options: SharedQueueOptions;
  readonly #view = new QueueView();
  readonly #outbox: Outbox;
  readonly #own: OwnTickets;
  readonly #endedRecords: EndedRecords;
  readonly #timeouts: WaitTimeouts;
  readonly #leftovers: Leftovers;
  readonly #dispatcher: Dispatcher;
  readonly #timer: NodeJS.Timeout;
  readonly #stopping = new AbortController();
  readonly #unlisten: () => void;
  /**
   * Sandboxes that are no longer in Redis, and since when. Either Redis lost all its data: their gateway writes them
   * again, unless it is gone too. Or a message was missed: a node has them, or they were withdrawn.
   */
  readonly #absent = new Map<string, { record: SandboxRecord; since: number; lost: boolean }>();
  #offer: Offer | null = null;

  constructor(options: SharedQueueOptions) {
    this.#options = options;
    this.#outbox = new Outbox(options.log);
    const parts = { ...options, view: this.#view, outbox: this.#outbox };
    this.#own = new OwnTickets({
      ...parts,
      onWait: () => this.wake(),
      onEnded: (record) => this.#ended(record),
    });
    this.#endedRecords = new EndedRecords(parts);
    this.#timeouts = new WaitTimeouts({ ...parts, isOwn: (id) => this.#own.has(id) });
    this.#leftovers = new Leftovers(parts);
    this.#dispatcher = new Dispatcher({ ...parts, onPlaced: (record) => this.#served(record) });
    this.#timer = setInterval(() => {
      options.waitingList.look();
      this.#settleAbsent();
      this.#timeouts.retry();
      this.#leftovers.look();
      this.wake();
    }, RECHECK_MS).unref();
    this.#unlisten = options.link.onChange(() => {
      if (!options.link.up) return;
      this.#outbox.flush();
      this.wake();
    });
  }

  get depth(): number {
    return this.#view.size;
  }

  get informed(): boolean {
    return this.#options.waitingList.current;
  }

  async whenInformed(): Promise<void> {
    const { link, waitingList } = this.#options;
    if (link.up && !waitingList.current) await resolvesWithin(waitingList.copied(), INFORMED_MS);
  }

  start(offer: Offer, hooks: QueueHooks): void {
    this.#offer = offer;
    this.#view.start(hooks);
    this.#dispatcher.start(offer);
    this.#options.waitingList.start({
      waits: (item) => this.#waits(item),
      ended: (record) => this.#ended(record),
      withdrawn: (record) => this.#withdrawn(record),
      gone: (id) => {
        this.placed(id);
        this.#leftovers.clear(id);
      },
      all: (waiting, ended, lost) => this.#all(waiting, ended, lost),
    });
  }

  assertRoom(specs: readonly SandboxSpec[], { isBatch, isUnchecked }: CreateContext): void {
    const unsure = !this.#options.link.up || (isBatch && isUnchecked);
    if (unsure && !this.#view.fits(specs)) throw awayError();
  }

  assertSettled(specs: readonly SandboxSpec[]): void {
    if (specs.some(({ id }) => this.#own.isUnsettled(id))) throw unsettledError();
  }

  async add(ticket: Ticket, context: CreateContext = NO_CONTEXT): Promise<void> {
    // The tenant's older tickets go first, unless Redis is away and they cannot.
    const free = !this.#view.has(ticket.spec.tenant) || !this.#options.link.up;
    const outcome = free ? (this.#offer?.(ticket) ?? null) : null;
    if (outcome === null) return this.#own.enqueue(ticket, context);
    let answered = false;
    const settled = outcome.then((what) => this.#afterTry(ticket, what, context, () => answered));
    // A slow node does not hold the answer back; the ticket is followed up in the background.
    const late = pause(ANSWER_MS, this.#stopping.signal);
    await Promise.race([settled, late]);
    answered = true;
    background(settled, 'place a sandbox', this.#options.log);
  }

  async share(ticket: Ticket, context: CreateContext = NO_CONTEXT): Promise<void> {
    await this.#own.share(ticket, context);
  }

  placed(id: string): void {
    const waiting = this.#view.get(id);
    if (waiting !== undefined) this.#leftovers.suspect(id, waiting.tenant);
    // Counted here even if another gateway has placed it: turns are then the same on all gateways.
    this.#view.serve(id);
    this.remove(id);
  }

  remove(id: string): void {
    this.#own.forget(id);
    this.#absent.delete(id);
    this.#view.remove(id);
  }

  async recordEnd(record: SandboxRecord): Promise<void> {
    const { id } = record;
    this.remove(id);
    if (this.#view.applying === id) return;
    this.#endedRecords.keep(record);
    await this.#endedRecords.write(record);
  }

  wake(): void {
    this.#dispatcher.wake();
  }

  position(id: string): number | null {
    return this.#view.position(id);
  }

  takeBack(id: string): Promise<void> | null {
    const settled = this.#own.takeBack(id);
    if (settled === null) return null;
    this.remove(id);
    return resolvesWithin(settled, ANSWER_MS).then(() => undefined);
  }

  overdue(ended: SandboxRecord): boolean {
    this.#timeouts.add(ended);
    return false;
  }

  /** Ends tickets that have waited too long. For the leader: the gateway that accepted one may have died. */
  endOverdue(now: number, waitMs: number): void {
    this.#timeouts.endAll(now, waitMs);
  }

  /** Finishes the tickets in hand first, so that other gateways need not wait for their locks to expire. */
  async stop(): Promise<void> {
    this.#stopping.abort(new ServiceError('cancelled'));
    clearInterval(this.#timer);
    this.#unlisten();
    this.#options.waitingList.stop();
    await resolvesWithin(Promise.all([this.#dispatcher.stop(), this.#outbox.settled()]), STOP_MS);
    this.#outbox.stop();
    await this.#options.tickets.close();
  }

  /** Handles a node's answer to a ticket that no other gateway can hold. @throws ServiceError as `add` */
  async #afterTry(ticket: Ticket, outcome: Outcome, context: CreateContext, isAnswered: () => boolean): Promise<void> {
    if (outcome === 'placed' || outcome === 'lost') return;
    const triedOn = typeof outcome === 'object' ? outcome.unclear : null;
    if (isAnswered()) await this.#own.enqueueInTime(ticket, triedOn);
    else await this.#own.enqueue(ticket, context, triedOn);
  }

  /**
   * Ends what nobody wrote again, and drops what no node has reported. Redis is not informed: the gateway that accepted
   * it may merely have lost Redis, and it waits again once that gateway writes it.
   */
  #settleAbsent(): void {
    const { link } = this.#options;
    for (const [id, { record, since, lost }] of this.#absent) {
      const isOver = performance.now() - since > (lost ? ORPHAN_MS : MISSING_MS);
      if (this.#view.isOpen(id) !== true) this.#absent.delete(id);
      else if (link.up && isOver && this.#view.isLeft(id)) {
        this.#absent.delete(id);
        if (!lost) {
          this.#view.applyWithdrawal(endedRecord(record, 'deleted', null, link.clock.now()));
          continue;
        }
        const message =
          'the request was lost while it was queued: Redis lost its data, and the server that accepted it is gone';
        this.#view.apply(endedRecord(record, 'start_failed', message, link.clock.now()));
      }
    }
  }

  /** A ticket that this gateway took is on a node, or was no longer waiting when it was about to be sent to one. */
  #served(record: SandboxRecord): void {
    const { id } = record;
    this.#own.forget(id);
    // Whoever placed or withdrew it announced that before this gateway took the ticket: no message about it will
    // follow.
    if (this.#view.isOpen(id) === true) this.#noteAbsent(record, false);
  }

  /** The time counts from the first call. */
  #noteAbsent(record: SandboxRecord, lost: boolean): void {
    if (this.#absent.has(record.id)) return;
    this.#absent.set(record.id, { record, since: performance.now(), lost });
  }

  #waits(item: WaitingItem): void {
    const { id, tenant } = item.record;
    const ended = this.#endedRecords.get(id);
    // Whoever announced it has not learnt of its end, and Redis has lost the record.
    if (ended !== undefined) return void this.#endedRecords.write(ended);
    this.#absent.delete(id);
    this.#view.apply(item.record);
    this.#view.enter(item);
    if (this.#view.isPlaced(id)) this.#leftovers.strikeOut(id, tenant);
    this.wake();
  }

  #ended(record: SandboxRecord): void {
    this.#endedRecords.keep(record);
    this.remove(record.id);
    this.#view.apply(record);
  }

  #withdrawn(record: SandboxRecord): void {
    const { id } = record;
    // This gateway has accepted it too: write it again.
    if (this.#own.has(id)) return this.#own.renew(id);
    this.#absent.delete(id);
    this.#view.remove(id);
    this.#view.applyWithdrawal(record);
  }

  #all(waiting: readonly WaitingItem[], ended: readonly SandboxRecord[], lost: boolean): void {
    for (const record of ended) this.#ended(record);
    const present = new Set(waiting.map(({ record }) => record.id));
    for (const { id, record } of [...this.#view.values()]) {
      if (present.has(id)) continue;
      if (this.#view.isOpen(id) !== true) {
        this.remove(id);
        continue;
      }
      const isLost = lost || this.#absent.get(id)?.lost === true;
      if (!isLost) this.#view.remove(id);
      if (isLost || !this.#own.has(id)) this.#noteAbsent(record, isLost);
    }
    const inOrder = waiting.toSorted((a, b) => a.record.createdAtMs - b.record.createdAtMs);
    for (const item of inOrder) this.#waits(item);
    this.#own.renewAll();
    if (lost) this.#endedRecords.writeAll();
  }
}
