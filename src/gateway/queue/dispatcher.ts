/** Serves the shared queue: while nodes have room it takes tickets, tenants in turn, and brings each one to a node. */
import { background } from '../../lib/background.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { pendingRecord, type SandboxRecord } from '../../protocol/node.ts';
import { unlessAway } from '../redis/link.ts';
import { dropTicket } from './drop-ticket.ts';
import { Elsewhere } from './elsewhere.ts';
import type { Known } from './known-queue.ts';
import type { QueueParts } from './parts.ts';
import { weightOf, type Offer, type Outcome } from './queue.ts';
import type { Taken } from './tickets.ts';

export interface DispatcherOptions extends QueueParts {
  /** How often to look for tickets of dead gateways while anything waits. */
  recoverMs: number;
  /** A node has it, or it did not wait any more when it was to be sent to one. */
  onPlaced: (record: SandboxRecord) => void;
}

/** One look at all tenants. */
interface Round {
  /** Tenants of which nothing can go now. */
  readonly stuck: Set<string>;
  /** Tickets that were put in front of younger ones. */
  readonly advanced: Set<string>;
}

/** Tickets that this gateway has taken and not yet placed. */
const MAX_TAKEN = 64;
/** Between two looks at places that are spoken for, at least. */
const SOON_MS = 50;
/** Tenants whose lost tickets are looked for in one go. */
const MAX_RECOVERED = 64;

export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #elsewhere: Elsewhere;
  readonly #stopping = new AbortController();
  /** Tickets that this gateway has taken, on their way to a node or back. */
  readonly #finishing = new Set<Promise<void>>();
  #offer: Offer | null = null;
  #recoveredAt = -Infinity;
  /** Index of the next tenant whose lost tickets are looked for. */
  #recovered = 0;
  #soon: NodeJS.Timeout | undefined;
  #serving: Promise<void> | null = null;
  #serveAgain = false;

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#elsewhere = new Elsewhere(options);
  }

  start(offer: Offer): void {
    this.#offer = offer;
  }

  /** There may be room, or something new that waits. Costs nothing when nothing waits. */
  wake(): void {
    if (this.#options.known.size === 0) return;
    this.#serveAgain = true;
    if (this.#serving !== null || this.#stopping.signal.aborted) return;
    this.#serving = this.#serve().finally(() => (this.#serving = null));
    background(this.#serving, 'serve the shared queue', this.#options.log);
  }

  /** Takes no more tickets. Resolves once those in hand are on a node or back in the queue. */
  async stop(): Promise<void> {
    this.#stopping.abort(new ServiceError('cancelled'));
    clearTimeout(this.#soon);
    await Promise.allSettled([this.#serving]);
    await Promise.all(this.#finishing);
  }

  async #serve(): Promise<void> {
    const { link, known } = this.#options;
    const { signal } = this.#stopping;
    while (this.#serveAgain && link.up && !signal.aborted) {
      this.#serveAgain = false;
      this.#recover();
      this.#elsewhere.startRound();
      const round: Round = { stuck: new Set(), advanced: new Set() };
      for (let one = known.next(round.stuck); one !== undefined; one = known.next(round.stuck)) {
        if (this.#finishing.size >= MAX_TAKEN || signal.aborted) return;
        if (!(await this.#serveTenant(one, round))) round.stuck.add(one.tenant);
      }
    }
  }

  /** Takes the tenant's first ticket and offers it. False: nothing of this tenant can go now. */
  async #serveTenant({ tenant, record }: Known, { stuck, advanced }: Round): Promise<boolean> {
    const { known, tickets, log } = this.#options;
    const spokenFor = this.#elsewhere.before(record);
    if (!known.fits([record, ...spokenFor])) {
      if (spokenFor.length > 0 && known.fits([record])) this.#wakeSoon();
      return false;
    }
    const taken = await unlessAway(tickets.take(tenant), null, log);
    const id = taken?.ticket.spec.id;
    const older = await this.#elsewhere.look(tenant, known.before(tenant, id));
    if (taken === null || id === undefined) return false;
    const putBack = (): Promise<void> => unlessAway(taken.back(), undefined, log);
    if (older !== undefined && !advanced.has(older.id)) {
      advanced.add(older.id);
      if (await unlessAway(tickets.advance(tenant, older.id, older.priority), false, log)) {
        await putBack();
        return true;
      }
    }
    // Another gateway may have served this tenant while Redis was asked, or this one may stop.
    const turn = known.next(stuck);
    if (this.#stopping.signal.aborted || (turn !== undefined && turn.tenant !== tenant)) {
      await putBack();
      return true;
    }
    const own = pendingRecord(taken.ticket.spec);
    const others = this.#elsewhere.before(own);
    if (others.length > 0 && !known.fits([own, ...others])) {
      await putBack();
      this.#wakeSoon();
      return false;
    }
    if (known.get(id) === undefined) known.tell(own);
    const outcome = this.#offer?.(taken.ticket, taken) ?? null;
    if (outcome === null) {
      await putBack();
      return false;
    }
    known.serve(id);
    const finished = this.#finish(taken, outcome).finally(() => {
      this.#finishing.delete(finished);
      this.wake();
    });
    this.#finishing.add(finished);
    background(finished, 'place a ticket', log);
    return true;
  }

  /** For places that are spoken for by what another gateway holds: that is settled within milliseconds. */
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
    const { known, waitingList, outbox, onPlaced, log } = this.#options;
    const { spec, priority } = taken.ticket;
    const what = await outcome;
    if (what === 'placed') {
      onPlaced(pendingRecord(spec));
      // If this arrives late, another gateway takes the ticket once more and finds that it does not wait any more.
      await outbox.send(`gone ${spec.id}`, () => waitingList.gone(spec.id));
      const done = await unlessAway(taken.done(), false, log);
      if (!done) dropTicket(this.#options, spec.tenant, spec.id);
      return;
    }
    known.reenter({ record: pendingRecord(spec), priority, weight: weightOf(taken.ticket) });
    // If this fails, the lock expires by itself.
    await unlessAway(taken.back(what === 'later'), undefined, log);
  }

  /** Looks for tickets of dead gateways, a bounded number of tenants at a time, all in turn. */
  #recover(): void {
    const { tickets, known, recoverMs, log } = this.#options;
    const now = performance.now();
    if (now - this.#recoveredAt < recoverMs) return;
    this.#recoveredAt = now;
    const tenants = known.tenants;
    const first = this.#recovered >= tenants.length ? 0 : this.#recovered;
    this.#recovered = first + MAX_RECOVERED;
    for (const tenant of tenants.slice(first, this.#recovered)) {
      void unlessAway(tickets.recover(tenant), false, log).then((freed) => (freed ? this.wake() : undefined));
    }
  }
}
