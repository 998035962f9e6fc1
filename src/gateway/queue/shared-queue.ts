/**
 * The queue of several gateways. What fits goes straight to a node, and Redis is not asked. What must wait is written
 * down there, and whichever gateway sees room takes it: tenants in turn, by their weight. While Redis is away nothing
 * can begin to wait, and nobody's turn comes; what waits already is still there afterwards.
 */
import { background } from '../../lib/background.ts';
import { sleep } from '../../lib/deadline.ts';
import type { Logger } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { pendingRecord, type SandboxRecord } from '../../protocol/node.ts';
import type { RedisLink } from '../redis/link.ts';
import { endedRecord } from '../sandboxes/entry.ts';
import { Lines, type Waiting } from './lines.ts';
import { queueFull, weightOf } from './memory-queue.ts';
import type { Offer, Outcome, PlacementQueue, Sharing, Ticket } from './queue.ts';
import { Owed } from './owed.ts';
import type { Taken, Tickets } from './tickets.ts';
import type { WaitingItem, WaitingRoom } from './waiting-room.ts';

export interface SharedQueueOptions {
  link: RedisLink;
  room: WaitingRoom;
  tickets: Tickets;
  log: Logger;
  /** Tickets that may wait, all tenants and gateways together. */
  max: number;
  /** Tickets of gateways that died are looked for this often. */
  recoverMs: number;
}

interface Known extends Waiting {
  readonly record: SandboxRecord;
}

const RETRY_AFTER_MS = 1_000;
/** Even with no word from any node, what waits is looked at this often. */
const RECHECK_MS = 1_000;
/** Tickets that this gateway has taken and not yet placed. */
const MAX_TAKEN = 64;
/** For what is in hand when the gateway ends. */
const STOP_MS = 5_000;
/** The gateway that let it in ends it first, if it is there. */
const OVERDUE_SLACK_MS = 5_000;
/** A create is answered after this long even if its node has not said that it has it. */
const ANSWER_MS = 2_000;

export class SharedQueue implements PlacementQueue {
  readonly #options: SharedQueueOptions;
  readonly #lines = new Lines<Known>((a, b) => a.record.createdAtMs < b.record.createdAtMs);
  /** Tickets that were asked for here, and that no node has yet: should Redis lose them, they are written down again. */
  readonly #own = new Map<string, Ticket>();
  readonly #owed: Owed;
  readonly #timer: NodeJS.Timeout;
  readonly #stopping = new AbortController();
  readonly #unlisten: () => void;
  #offer: Offer | null = null;
  #sharing: Sharing | null = null;
  /** What is being passed on at this moment: nobody needs to tell Redis what came from there. */
  #hearing: string | null = null;
  /** Tickets that this gateway has taken, on their way to a node or back. */
  readonly #finishing = new Set<Promise<void>>();
  #recoveredAt = -Infinity;
  #serving = false;
  #serveAgain = false;

  constructor(options: SharedQueueOptions) {
    this.#options = options;
    this.#owed = new Owed(options.log);
    this.#timer = setInterval(() => this.wake(), RECHECK_MS).unref();
    this.#unlisten = options.link.onChange(() => {
      if (!options.link.up) return;
      this.#owed.pay();
      this.wake();
    });
  }

  get depth(): number {
    return this.#lines.size;
  }

  get informed(): boolean {
    return this.#options.room.current;
  }

  start(offer: Offer, sharing: Sharing): void {
    this.#offer = offer;
    this.#sharing = sharing;
    this.#options.room.start({
      waits: (item) => this.#waits(item),
      ended: (record) => this.#ended(record),
      gone: (id) => this.remove(id),
      all: (waiting, ended) => this.#all(waiting, ended),
    });
  }

  async add(ticket: Ticket): Promise<void> {
    // Others of the tenant go first, unless Redis is away and they cannot.
    const free = !this.#lines.has(ticket.spec.tenant) || !this.#options.link.up;
    const outcome = free ? (this.#offer?.(ticket) ?? null) : null;
    if (outcome === null) return this.#begin(ticket, null);
    let answered = false;
    const settled = outcome.then((what) => this.#afterTry(ticket, what, () => answered));
    // A node that takes its time does not keep the answer; what becomes of the ticket is seen to all the same.
    const late = sleep(ANSWER_MS, this.#stopping.signal).catch(() => undefined);
    await Promise.race([settled, late]);
    answered = true;
    background(settled, 'place a sandbox', this.#options.log);
  }

  remove(id: string): void {
    this.#own.delete(id);
    this.#lines.remove(id);
  }

  async bury(record: SandboxRecord): Promise<void> {
    const { id, tenant } = record;
    this.remove(id);
    if (this.#hearing === id) return;
    const { room, tickets } = this.#options;
    await this.#owed.owe(`end ${id}`, async () => {
      await room.end(record);
      await tickets.drop(tenant, id);
    });
  }

  wake(): void {
    this.#serveAgain = true;
    if (this.#serving || this.#stopping.signal.aborted) return;
    this.#serving = true;
    const serving = this.#serve().finally(() => (this.#serving = false));
    background(serving, 'serve the shared queue', this.#options.log);
  }

  position(id: string): number | null {
    return this.#lines.position(id);
  }

  /** Ends what waited too long; for the leader, since whoever let it in may have died. */
  endOverdue(now: number, waitMs: number): void {
    for (const { id, record } of this.#lines.values()) {
      if (this.#sharing?.isOpen(id) !== true) continue;
      const lived = now >= record.expiresAtMs;
      if (!lived && now < record.createdAtMs + waitMs + OVERDUE_SLACK_MS) continue;
      const ended = lived
        ? endedRecord(record, 'lifetime', 'No node had room within its lifetime.', now)
        : endedRecord(record, 'start_failed', `No node had room within ${waitMs} ms.`, now);
      this.#tell(ended);
      background(this.bury(ended), 'end what waited too long', this.#options.log);
    }
  }

  /** What is in hand is finished first, so that others need not wait for the end of its lock. */
  async stop(): Promise<void> {
    this.#stopping.abort(new ServiceError('cancelled'));
    clearInterval(this.#timer);
    this.#unlisten();
    this.#options.room.stop();
    await within(STOP_MS, Promise.all([...this.#finishing, this.#owed.settled()]));
    this.#owed.stop();
    await this.#options.tickets.close();
  }

  /** What a node said to a ticket that no other gateway can have. @throws ServiceError `capacity_exhausted` */
  async #afterTry(ticket: Ticket, outcome: Outcome, isAnswered: () => boolean): Promise<void> {
    if (outcome === 'placed' || outcome === 'lost') return;
    const triedOn = typeof outcome === 'object' ? outcome.unclear : null;
    if (!isAnswered()) return this.#begin(ticket, triedOn);
    // Whoever asked was told that it will come to be: it waits here for Redis, if it must.
    const { id } = ticket.spec;
    this.#own.set(id, ticket);
    await this.#owed.owe(`wait ${id}`, async () => {
      if (this.#own.has(id)) await this.#write(ticket, triedOn);
    });
  }

  /** It waits from now on, or never did. @throws ServiceError `capacity_exhausted` */
  async #begin(ticket: Ticket, triedOn: string | null): Promise<void> {
    if (!this.#options.link.up) throw awayError();
    try {
      await this.#write(ticket, triedOn);
    } catch (thrown) {
      const { spec } = ticket;
      this.#own.delete(spec.id);
      const error = ServiceError.from(thrown);
      if (error.code !== 'node_unavailable') throw error;
      // Without an answer it may be there all the same: it is taken away again when that can be done.
      background(
        this.bury(endedRecord(pendingRecord(spec), 'deleted', null, Date.now())),
        'take back a ticket',
        this.#options.log,
      );
      throw awayError();
    }
  }

  /** May be done again. @throws ServiceError `capacity_exhausted` when the queue is full, `node_unavailable` */
  async #write(ticket: Ticket, triedOn: string | null): Promise<void> {
    const { room, tickets, max } = this.#options;
    const { spec, priority } = ticket;
    const item = { record: pendingRecord(spec), priority, weight: weightOf(ticket) };
    this.#own.set(spec.id, ticket);
    if (triedOn !== null) await tickets.tried(spec.id, triedOn);
    const said = await room.announce(item, max);
    if (said === 'full') throw queueFull(this.#lines.size);
    if (said === 'ended') return;
    await tickets.add(ticket);
    this.#know(item);
    this.wake();
  }

  async #serve(): Promise<void> {
    while (this.#serveAgain && this.#options.link.up && !this.#stopping.signal.aborted) {
      this.#serveAgain = false;
      this.#recover();
      const stuck = new Set<string>();
      for (let one = this.#lines.next(stuck); one !== undefined; one = this.#lines.next(stuck)) {
        if (this.#finishing.size >= MAX_TAKEN) return;
        if (!(await this.#serveTenant(one))) stuck.add(one.tenant);
      }
    }
  }

  /** Takes the first ticket of the tenant and offers it. False: nothing of this tenant can go now. */
  async #serveTenant({ tenant, record }: Known): Promise<boolean> {
    if (this.#sharing?.fits(record) !== true) return false;
    const taken = await this.#options.tickets.take(tenant).catch(() => null);
    if (taken === null) return false;
    const { id } = taken.ticket.spec;
    if (this.#lines.get(id) === undefined) this.#tell(pendingRecord(taken.ticket.spec));
    const outcome = this.#offer?.(taken.ticket, taken) ?? null;
    if (outcome === null) {
      await taken.back().catch(() => undefined);
      return false;
    }
    this.#lines.remove(id);
    this.#lines.served(tenant);
    const finished = this.#finish(taken, outcome).finally(() => {
      this.#finishing.delete(finished);
      this.wake();
    });
    this.#finishing.add(finished);
    background(finished, 'place a ticket', this.#options.log);
    return true;
  }

  async #finish(taken: Taken, outcome: Promise<Outcome>): Promise<void> {
    const { id } = taken.ticket.spec;
    const what = await outcome;
    if (what === 'placed') {
      this.#own.delete(id);
      // Told late, the ticket is taken once more, and whoever takes it finds that it waits no longer.
      await this.#owed.owe(`gone ${id}`, () => this.#options.room.gone(id));
      await taken.done().catch(() => undefined);
      return;
    }
    const { spec, priority } = taken.ticket;
    this.#know({ record: pendingRecord(spec), priority, weight: weightOf(taken.ticket) }, true);
    // Told late or never, its lock ends by itself.
    if (what !== 'lost') await taken.back().catch(() => undefined);
  }

  /** Looks for tickets whose gateways died. */
  #recover(): void {
    const { tickets, recoverMs } = this.#options;
    const now = performance.now();
    if (now - this.#recoveredAt < recoverMs) return;
    this.#recoveredAt = now;
    const tenants = new Set([...this.#lines.values()].map(({ tenant }) => tenant));
    for (const tenant of tenants) void tickets.recover(tenant).catch(() => undefined);
  }

  #know({ record, priority, weight }: WaitingItem, ahead = false): void {
    if (this.#lines.get(record.id) !== undefined || this.#sharing?.isOpen(record.id) === false) return;
    this.#lines.add({ id: record.id, tenant: record.tenant, priority, weight, record }, ahead);
  }

  #waits(item: WaitingItem): void {
    this.#tell(item.record);
    this.#know(item);
    this.wake();
  }

  #ended(record: SandboxRecord): void {
    this.remove(record.id);
    this.#tell(record);
  }

  #tell(record: SandboxRecord): void {
    this.#hearing = record.id;
    this.#sharing?.heard(record);
    this.#hearing = null;
  }

  #all(waiting: readonly WaitingItem[], ended: readonly SandboxRecord[]): void {
    for (const record of ended) this.#ended(record);
    const present = new Set(waiting.map(({ record }) => record.id));
    for (const { id } of [...this.#lines.values()]) if (!present.has(id)) this.#lines.remove(id);
    const inOrder = waiting.toSorted((a, b) => a.record.createdAtMs - b.record.createdAtMs);
    for (const item of inOrder) this.#waits(item);
    // A server that lost its last second, or everything, is given back what this gateway promised.
    for (const [id, ticket] of this.#own) {
      if (this.#sharing?.isOpen(id) === false) this.#own.delete(id);
      else void this.#owed.owe(`wait ${id}`, () => this.#writeBack(id, ticket));
    }
  }

  async #writeBack(id: string, ticket: Ticket): Promise<void> {
    if (this.#own.has(id) && this.#sharing?.isOpen(id) === true) await this.#write(ticket, null);
  }
}

/** Resolves with the work, or after so long. */
async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([work, new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)))]);
  clearTimeout(timer);
}

/** What a create is told that has to wait where nobody can. */
function awayError(): ServiceError {
  const message = 'No node has room, and the queue that gateways share cannot be reached now.';
  return new ServiceError('capacity_exhausted', message, { retryAfterMs: RETRY_AFTER_MS });
}
