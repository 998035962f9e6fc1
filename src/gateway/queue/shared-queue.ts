/**
 * The queue of several gateways. What fits goes straight to a node without asking Redis. What must wait is stored in
 * Redis, and whichever gateway sees room takes it: tenants in turn, by their weight. While Redis is away nothing can be
 * enqueued and nothing is taken; what waits already is still there afterwards.
 */
import { background } from '../../lib/background.ts';
import { pause, resolvesWithin } from '../../lib/deadline.ts';
import type { Logger } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { SandboxRecord, SandboxSpec } from '../../protocol/node.ts';
import type { RedisLink } from '../redis/link.ts';
import { endedRecord } from '../sandboxes/entry.ts';
import { Ends } from './ends.ts';
import { KnownQueue } from './known-queue.ts';
import { Leftovers } from './leftovers.ts';
import { Outbox } from '../redis/outbox.ts';
import { Overdue } from './overdue.ts';
import { awayError, OwnTickets } from './own-tickets.ts';
import type { Company, Offer, Outcome, PlacementQueue, QueueHooks, Ticket } from './queue.ts';
import { Dispatcher } from './dispatcher.ts';
import type { Tickets } from './tickets.ts';
import type { WaitingItem, WaitingList } from './waiting-list.ts';

export interface SharedQueueOptions {
  link: RedisLink;
  waitingList: WaitingList;
  tickets: Tickets;
  log: Logger;
  /** Tickets that may wait, all tenants and gateways together; see fair-share.ts. */
  max: number;
  /** How often to look for tickets of dead gateways. */
  recoverMs: number;
}

/** Waiting tickets are looked at this often even when no node reports anything. */
const RECHECK_MS = 1_000;
/** For the tickets in hand when the gateway stops. */
const STOP_MS = 5_000;
/** Within this time a live gateway rewrites what Redis lost, and nodes report what they have. */
const ORPHAN_MS = 15_000;
/** Within this time a node reports what it has taken. Later is harmless: a report brings a forgotten sandbox back. */
const MISSING_MS = 5_000;
const NO_COMPANY: Company = { together: false, alone: false, keyed: true, begun: () => false };
/** A create is answered after this long even if its node has not confirmed it. */
const ANSWER_MS = 2_000;

export class SharedQueue implements PlacementQueue {
  readonly #options: SharedQueueOptions;
  readonly #known = new KnownQueue();
  readonly #outbox: Outbox;
  readonly #own: OwnTickets;
  readonly #ends: Ends;
  readonly #overdue: Overdue;
  readonly #leftovers: Leftovers;
  readonly #dispatcher: Dispatcher;
  readonly #timer: NodeJS.Timeout;
  readonly #stopping = new AbortController();
  readonly #unlisten: () => void;
  /**
   * Sandboxes that are not in Redis any more, and since when. Lost with all its data: their gateway writes them again,
   * unless it is gone too. Otherwise a message was missed: a node has them, or they were withdrawn.
   */
  readonly #absent = new Map<string, { record: SandboxRecord; since: number; lost: boolean }>();
  #offer: Offer | null = null;

  constructor(options: SharedQueueOptions) {
    this.#options = options;
    this.#outbox = new Outbox(options.log);
    const parts = { ...options, known: this.#known, outbox: this.#outbox };
    this.#own = new OwnTickets({
      ...parts,
      onWait: () => this.wake(),
    });
    this.#ends = new Ends(parts);
    this.#overdue = new Overdue({ ...parts, isOwn: (id) => this.#own.has(id) });
    this.#leftovers = new Leftovers(parts);
    this.#dispatcher = new Dispatcher({ ...parts, onPlaced: (record) => this.#served(record) });
    this.#timer = setInterval(() => {
      options.waitingList.look();
      this.#settleAbsent();
      this.#overdue.look();
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
    return this.#known.size;
  }

  get informed(): boolean {
    return this.#options.waitingList.current;
  }

  start(offer: Offer, hooks: QueueHooks): void {
    this.#offer = offer;
    this.#known.start(hooks);
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

  assertRoom(specs: readonly SandboxSpec[], { together, alone }: Company): void {
    const unsure = !this.#options.link.up || (together && alone);
    if (unsure && !this.#known.fits(specs)) throw awayError();
  }

  async add(ticket: Ticket, company: Company = NO_COMPANY): Promise<void> {
    // The tenant's older tickets go first, unless Redis is away and they cannot.
    const free = !this.#known.has(ticket.spec.tenant) || !this.#options.link.up;
    const outcome = free ? (this.#offer?.(ticket) ?? null) : null;
    if (outcome === null) return this.#own.make(ticket, company);
    let answered = false;
    const settled = outcome.then((what) => this.#afterTry(ticket, what, company, () => answered));
    // A slow node does not hold the answer back; the ticket is followed up in the background.
    const late = pause(ANSWER_MS, this.#stopping.signal);
    await Promise.race([settled, late]);
    answered = true;
    background(settled, 'place a sandbox', this.#options.log);
  }

  async share(ticket: Ticket, company: Company = NO_COMPANY): Promise<void> {
    await this.#own.share(ticket, company);
  }

  placed(id: string): void {
    const waiting = this.#known.get(id);
    if (waiting !== undefined) this.#leftovers.suspect(id, waiting.tenant);
    // Also counted here if another gateway has placed it: the turns then are the same everywhere.
    this.#known.serve(id);
    this.remove(id);
  }

  remove(id: string): void {
    this.#own.forget(id);
    this.#absent.delete(id);
    this.#known.remove(id);
  }

  async recordEnd(record: SandboxRecord): Promise<void> {
    const { id } = record;
    this.remove(id);
    if (this.#known.telling === id) return;
    this.#ends.keep(record);
    await this.#ends.write(record);
  }

  wake(): void {
    this.#dispatcher.wake();
  }

  position(id: string): number | null {
    return this.#known.position(id);
  }

  takeBack(id: string): boolean {
    if (!this.#own.takeBack(id)) return false;
    this.remove(id);
    return true;
  }

  overdue(ended: SandboxRecord): boolean {
    this.#overdue.add(ended);
    return false;
  }

  /** Ends what has waited too long. For the leader: the gateway that accepted it may have died. */
  endOverdue(now: number, waitMs: number): void {
    this.#overdue.endAll(now, waitMs);
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
  async #afterTry(ticket: Ticket, outcome: Outcome, company: Company, isAnswered: () => boolean): Promise<void> {
    if (outcome === 'placed' || outcome === 'lost') return;
    const triedOn = typeof outcome === 'object' ? outcome.unclear : null;
    if (isAnswered()) await this.#own.makeInTime(ticket, triedOn);
    else await this.#own.make(ticket, company, triedOn);
  }

  /**
   * Ends what nobody wrote again, and drops what no node has reported. Redis is not told: the gateway that accepted it
   * may only be without Redis, and then it waits again when that writes it.
   */
  #settleAbsent(): void {
    const { link } = this.#options;
    for (const [id, { record, since, lost }] of this.#absent) {
      const isOver = performance.now() - since > (lost ? ORPHAN_MS : MISSING_MS);
      if (this.#known.isOpen(id) !== true) this.#absent.delete(id);
      else if (link.up && isOver && this.#known.isLeft(id)) {
        this.#absent.delete(id);
        if (!lost) {
          this.#known.tellWithdrawn(endedRecord(record, 'deleted', null, link.clock.now()));
          continue;
        }
        const message =
          'the request was lost while it was queued: Redis lost its data, and the server that accepted it is gone';
        this.#known.tell(endedRecord(record, 'start_failed', message, link.clock.now()));
      }
    }
  }

  /** A ticket that this gateway took is on a node, or did not wait any more when it was to be sent to one. */
  #served(record: SandboxRecord): void {
    const { id } = record;
    this.#own.forget(id);
    // Whoever placed or withdrew it said so before this gateway took up the ticket: no message about it will come.
    if (this.#known.isOpen(id) === true) this.#misses(record, false);
  }

  /** Counts from the first time. */
  #misses(record: SandboxRecord, lost: boolean): void {
    if (this.#absent.has(record.id)) return;
    this.#absent.set(record.id, { record, since: performance.now(), lost });
  }

  #waits(item: WaitingItem): void {
    const { id, tenant } = item.record;
    const ended = this.#ends.get(id);
    // Whoever announced it has not heard that, and Redis has lost it.
    if (ended !== undefined) return void this.#ends.write(ended);
    this.#absent.delete(id);
    this.#known.tell(item.record);
    this.#known.enter(item);
    if (this.#known.isPlaced(id)) this.#leftovers.strikeOut(id, tenant);
    this.wake();
  }

  #ended(record: SandboxRecord): void {
    this.#ends.keep(record);
    this.remove(record.id);
    this.#known.tell(record);
  }

  #withdrawn(record: SandboxRecord): void {
    const { id } = record;
    // This gateway has accepted it too: write it again.
    if (this.#own.has(id)) return this.#own.renew(id);
    this.#absent.delete(id);
    this.#known.remove(id);
    this.#known.tellWithdrawn(record);
  }

  #all(waiting: readonly WaitingItem[], ended: readonly SandboxRecord[], lost: boolean): void {
    for (const record of ended) this.#ended(record);
    const present = new Set(waiting.map(({ record }) => record.id));
    for (const { id, record } of [...this.#known.values()]) {
      if (present.has(id)) continue;
      if (this.#known.isOpen(id) !== true) {
        this.remove(id);
        continue;
      }
      const isLost = lost || this.#absent.get(id)?.lost === true;
      if (!isLost) this.#known.remove(id);
      if (isLost || !this.#own.has(id)) this.#misses(record, isLost);
    }
    const inOrder = waiting.toSorted((a, b) => a.record.createdAtMs - b.record.createdAtMs);
    for (const item of inOrder) this.#waits(item);
    this.#own.renewAll();
    if (lost) this.#ends.writeAll();
  }
}
