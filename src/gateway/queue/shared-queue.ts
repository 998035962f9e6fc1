/**
 * The queue of several gateways. What fits goes straight to a node, and Redis is not asked. What must wait is written
 * down there, and whichever gateway sees room takes it: tenants in turn, by their weight. While Redis is away nothing
 * can begin to wait, and nobody's turn comes; what waits already is still there afterwards.
 */
import { background } from '../../lib/background.ts';
import { sleep } from '../../lib/deadline.ts';
import type { Logger } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { SandboxRecord } from '../../protocol/node.ts';
import type { RedisLink } from '../redis/link.ts';
import { endedRecord } from '../sandboxes/entry.ts';
import { KnownLines } from './known-lines.ts';
import { Owed } from './owed.ts';
import { OwnTickets } from './own-tickets.ts';
import type { Offer, Outcome, PlacementQueue, Sharing, Ticket } from './queue.ts';
import { QueueServer } from './server.ts';
import type { Tickets } from './tickets.ts';
import type { WaitingItem, WaitingRoom } from './waiting-room.ts';

export interface SharedQueueOptions {
  link: RedisLink;
  room: WaitingRoom;
  tickets: Tickets;
  log: Logger;
  /** Tickets that may wait, all tenants and gateways together; see places.ts. */
  max: number;
  /** Tickets of gateways that died are looked for this often. */
  recoverMs: number;
}

/** Even with no word from any node, what waits is looked at this often. */
const RECHECK_MS = 1_000;
/** For what is in hand when the gateway ends. */
const STOP_MS = 5_000;
/** The gateway that let it in ends it first, if it is there. */
const OVERDUE_SLACK_MS = 5_000;
/** A gateway that is there writes down again within this long what Redis lost, and a node tells what it has. */
const ORPHAN_MS = 15_000;
/** A create is answered after this long even if its node has not said that it has it. */
const ANSWER_MS = 2_000;

export class SharedQueue implements PlacementQueue {
  readonly #options: SharedQueueOptions;
  readonly #lines = new KnownLines();
  readonly #owed: Owed;
  readonly #own: OwnTickets;
  readonly #server: QueueServer;
  readonly #timer: NodeJS.Timeout;
  readonly #stopping = new AbortController();
  readonly #unlisten: () => void;
  /** What waits and Redis has lost, and since when: its gateway writes it down again, unless that has gone too. */
  readonly #orphans = new Map<string, number>();
  #offer: Offer | null = null;

  constructor(options: SharedQueueOptions) {
    this.#options = options;
    this.#owed = new Owed(options.log);
    const parts = { ...options, lines: this.#lines, owed: this.#owed };
    this.#own = new OwnTickets({
      ...parts,
      onWait: () => this.wake(),
    });
    this.#server = new QueueServer({ ...parts, onPlaced: (id) => this.#own.forget(id) });
    this.#timer = setInterval(() => {
      this.#endOrphans();
      this.wake();
    }, RECHECK_MS).unref();
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
    this.#lines.start(sharing);
    this.#server.start(offer);
    this.#options.room.start({
      waits: (item) => this.#waits(item),
      ended: (record) => this.#ended(record),
      withdrawn: (record) => this.#withdrawn(record),
      gone: (id) => this.remove(id),
      all: (waiting, ended, lost) => this.#all(waiting, ended, lost),
    });
  }

  async add(ticket: Ticket): Promise<void> {
    // Others of the tenant go first, unless Redis is away and they cannot.
    const free = !this.#lines.has(ticket.spec.tenant) || !this.#options.link.up;
    const outcome = free ? (this.#offer?.(ticket) ?? null) : null;
    if (outcome === null) return this.#own.make(ticket, null);
    let answered = false;
    const settled = outcome.then((what) => this.#afterTry(ticket, what, () => answered));
    // A node that takes its time does not keep the answer; what becomes of the ticket is seen to all the same.
    const late = sleep(ANSWER_MS, this.#stopping.signal).catch(() => undefined);
    await Promise.race([settled, late]);
    answered = true;
    background(settled, 'place a sandbox', this.#options.log);
  }

  async share(ticket: Ticket): Promise<void> {
    await this.#own.share(ticket);
  }

  remove(id: string): void {
    this.#own.forget(id);
    this.#orphans.delete(id);
    this.#lines.remove(id);
  }

  async bury(record: SandboxRecord): Promise<void> {
    const { id, tenant } = record;
    this.remove(id);
    if (this.#lines.telling === id) return;
    const { room, tickets } = this.#options;
    await this.#owed.owe(`end ${id}`, async () => {
      await room.end(record);
      await tickets.drop(tenant, id);
    });
  }

  wake(): void {
    this.#server.wake();
  }

  position(id: string): number | null {
    return this.#lines.position(id);
  }

  /** Ends what waited too long; for the leader, since whoever let it in may have died. */
  endOverdue(now: number, waitMs: number): void {
    for (const { id, record } of this.#lines.values()) {
      if (this.#lines.isOpen(id) !== true) continue;
      const lived = now >= record.expiresAtMs;
      if (!lived && now < record.createdAtMs + waitMs + OVERDUE_SLACK_MS) continue;
      const ended = lived
        ? endedRecord(record, 'lifetime', 'No node had room within its lifetime.', now)
        : endedRecord(record, 'start_failed', `No node had room within ${waitMs} ms.`, now);
      this.#lines.tell(ended);
      background(this.bury(ended), 'end what waited too long', this.#options.log);
    }
  }

  /** What is in hand is finished first, so that others need not wait for the end of its lock. */
  async stop(): Promise<void> {
    this.#stopping.abort(new ServiceError('cancelled'));
    clearInterval(this.#timer);
    this.#unlisten();
    this.#options.room.stop();
    await within(STOP_MS, Promise.all([this.#server.stop(), this.#owed.settled()]));
    this.#owed.stop();
    await this.#options.tickets.close();
  }

  /** What a node said to a ticket that no other gateway can have. @throws ServiceError as `add` */
  async #afterTry(ticket: Ticket, outcome: Outcome, isAnswered: () => boolean): Promise<void> {
    if (outcome === 'placed' || outcome === 'lost') return;
    const triedOn = typeof outcome === 'object' ? outcome.unclear : null;
    if (isAnswered()) await this.#own.makeInTime(ticket, triedOn);
    else await this.#own.make(ticket, triedOn);
  }

  #endOrphans(): void {
    for (const [id, since] of this.#orphans) {
      const known = this.#lines.get(id);
      if (known === undefined) this.#orphans.delete(id);
      else if (this.#options.link.up && performance.now() - since > ORPHAN_MS && this.#lines.isLeft(id)) {
        const message = 'It was lost while it waited, and the server that let it in is gone.';
        const ended = endedRecord(known.record, 'start_failed', message, this.#options.link.clock.now());
        this.#lines.tell(ended);
        background(this.bury(ended), 'end what was lost', this.#options.log);
      }
    }
  }

  #waits(item: WaitingItem): void {
    this.#orphans.delete(item.record.id);
    this.#lines.tell(item.record);
    this.#lines.enter(item);
    this.wake();
  }

  #ended(record: SandboxRecord): void {
    this.remove(record.id);
    this.#lines.tell(record);
  }

  #withdrawn(record: SandboxRecord): void {
    const { id } = record;
    // Promised here as well: it is written down once more.
    if (this.#own.has(id)) return this.#own.renew(id);
    this.#orphans.delete(id);
    this.#lines.remove(id);
    this.#lines.tellWithdrawn(record);
  }

  #all(waiting: readonly WaitingItem[], ended: readonly SandboxRecord[], lost: boolean): void {
    for (const record of ended) this.#ended(record);
    const present = new Set(waiting.map(({ record }) => record.id));
    for (const { id } of [...this.#lines.values()]) {
      if (present.has(id) || this.#lines.isOpen(id) !== true) this.#orphans.delete(id);
      else if (lost && !this.#orphans.has(id)) this.#orphans.set(id, performance.now());
      if (!present.has(id) && !this.#orphans.has(id)) this.#lines.remove(id);
    }
    const inOrder = waiting.toSorted((a, b) => a.record.createdAtMs - b.record.createdAtMs);
    for (const item of inOrder) this.#waits(item);
    this.#own.renewAll();
  }
}

/** Resolves with the work, or after so long. */
async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([work, new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)))]);
  clearTimeout(timer);
}
