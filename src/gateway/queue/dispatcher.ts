/** Serves the shared queue: while nodes have room, takes tickets, tenants in turn, and brings each one to a node. */
import { background } from '../../lib/background.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { pendingRecord, type SandboxRecord } from '../../protocol/node.ts';
import { unlessAway } from '../redis/link.ts';
import { dropTicket } from './drop-ticket.ts';
import { ForeignHolds } from './foreign-holds.ts';
import type { QueueEntry } from './queue-view.ts';
import type { QueueParts } from './parts.ts';
import { weightOf, type Offer, type Outcome } from './queue.ts';
import type { Taken } from './tickets.ts';

export interface DispatcherOptions extends QueueParts {
  /** How often to look for tickets of dead gateways while anything waits. */
  recoverMs: number;
  /** A node has it, or it was no longer waiting when it was about to be sent to one. */
  onPlaced: (record: SandboxRecord) => void;
}

/** One pass over all tenants. */
interface Round {
  /** Tenants whose first ticket cannot be placed now. */
  readonly stuck: Set<string>;
  /** Tickets that were moved ahead of younger ones. */
  readonly advanced: Set<string>;
}

/** Tickets that this gateway has taken and not yet placed. */
const MAX_TAKEN = 64;
/** Shortest interval between two checks of places reserved for other gateways' tickets. */
const SOON_MS = 50;
/** Tenants checked for lost tickets in one pass. */
const MAX_RECOVERED = 64;

export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #foreignHolds: ForeignHolds;
  readonly #stopping = new AbortController();
  /** Tickets that this gateway has taken, on their way to a node or back. */
  readonly #finishing = new Set<Promise<void>>();
  #offer: Offer | null = null;
  #recoveredAt = -Infinity;
  /** Index of the next tenant to check for lost tickets. */
  #recovered = 0;
  #soon: NodeJS.Timeout | undefined;
  #serving: Promise<void> | null = null;
  #serveAgain = false;

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#foreignHolds = new ForeignHolds(options);
  }

  start(offer: Offer): void {
    this.#offer = offer;
  }

  /** There may be room, or a new ticket. Costs nothing when nothing waits. */
  wake(): void {
    if (this.#options.view.size === 0) return;
    this.#serveAgain = true;
    if (this.#serving !== null || this.#stopping.signal.aborted) return;
    this.#serving = this.#serve().finally(() => (this.#serving = null));
    background(this.#serving, 'serve the shared queue', this.#options.log);
  }

  /** Takes no more tickets. Resolves once the ones it holds are on a node or back in the queue. */
  async stop(): Promise<void> {
    this.#stopping.abort(new ServiceError('cancelled'));
    clearTimeout(this.#soon);
    await Promise.allSettled([this.#serving]);
    await Promise.all(this.#finishing);
  }

  async #serve(): Promise<void> {
    const { link, view } = this.#options;
    const { signal } = this.#stopping;
    while (this.#serveAgain && link.up && !signal.aborted) {
      this.#serveAgain = false;
      this.#recover();
      this.#foreignHolds.startRound();
      const round: Round = { stuck: new Set(), advanced: new Set() };
      for (let one = view.next(round.stuck); one !== undefined; one = view.next(round.stuck)) {
        if (this.#finishing.size >= MAX_TAKEN || signal.aborted) return;
        if (!(await this.#serveTenant(one, round))) round.stuck.add(one.tenant);
      }
    }
  }

  /** Takes the tenant's first ticket and offers it. False: none of this tenant's tickets can be placed now. */
  async #serveTenant({ tenant, record }: QueueEntry, { stuck, advanced }: Round): Promise<boolean> {
    const { view, tickets, log } = this.#options;
    const spokenFor = this.#foreignHolds.before(record);
    if (!view.fits([record, ...spokenFor])) {
      if (spokenFor.length > 0 && view.fits([record])) this.#wakeSoon();
      return false;
    }
    const taken = await unlessAway(tickets.take(tenant), null, log);
    const id = taken?.ticket.spec.id;
    const older = await this.#foreignHolds.refresh(tenant, view.before(tenant, id));
    if (taken === null || id === undefined) return false;
    const putBack = (): Promise<void> => unlessAway(taken.back(), undefined, log);
    if (older !== undefined && !advanced.has(older.id)) {
      advanced.add(older.id);
      if (await unlessAway(tickets.advance(tenant, older.id, older.priority), false, log)) {
        await putBack();
        return true;
      }
    }
    // Another gateway may have served this tenant while Redis was asked, or this one may be stopping.
    const turn = view.next(stuck);
    if (this.#stopping.signal.aborted || (turn !== undefined && turn.tenant !== tenant)) {
      await putBack();
      return true;
    }
    const own = pendingRecord(taken.ticket.spec);
    const others = this.#foreignHolds.before(own);
    if (others.length > 0 && !view.fits([own, ...others])) {
      await putBack();
      this.#wakeSoon();
      return false;
    }
    if (view.get(id) === undefined) view.apply(own);
    const outcome = this.#offer?.(taken.ticket, taken) ?? null;
    if (outcome === null) {
      await putBack();
      return false;
    }
    view.serve(id);
    const finished = this.#finish(taken, outcome).finally(() => {
      this.#finishing.delete(finished);
      this.wake();
    });
    this.#finishing.add(finished);
    background(finished, 'place a ticket', log);
    return true;
  }

  /** For places reserved for tickets that another gateway holds: their fate is settled within milliseconds. */
  #wakeSoon(): void {
    this.#soon ??= setTimeout(
      () => {
        this.#soon = undefined;
        this.wake();
      },
      SOON_MS * (1 + Math.random()),
    ).unref();
  }

  async #finish(taken: Taken, outcome: Promise<Outcome>): Promise<void> {
    const { view, waitingList, outbox, onPlaced, log } = this.#options;
    const { spec, priority } = taken.ticket;
    const what = await outcome;
    if (what === 'placed') {
      onPlaced(pendingRecord(spec));
      // If this arrives late, another gateway takes the ticket once more and finds that it no longer waits.
      await outbox.send(`gone ${spec.id}`, () => waitingList.gone(spec.id));
      const done = await unlessAway(taken.done(), false, log);
      if (!done) dropTicket(this.#options, spec.tenant, spec.id);
      return;
    }
    view.reenter({ record: pendingRecord(spec), priority, weight: weightOf(taken.ticket) });
    // If this fails, the lock expires by itself.
    await unlessAway(taken.back(what === 'later'), undefined, log);
  }

  /** Looks for tickets of dead gateways, a bounded number of tenants per pass, in rotation. */
  #recover(): void {
    const { tickets, view, recoverMs, log } = this.#options;
    const now = performance.now();
    if (now - this.#recoveredAt < recoverMs) return;
    this.#recoveredAt = now;
    const tenants = view.tenants;
    const first = this.#recovered >= tenants.length ? 0 : this.#recovered;
    this.#recovered = first + MAX_RECOVERED;
    for (const tenant of tenants.slice(first, this.#recovered)) {
      void unlessAway(tickets.recover(tenant), false, log).then((freed) => (freed ? this.wake() : undefined));
    }
  }
}
