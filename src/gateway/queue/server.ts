/** Serves the shared queue: as long as nodes have room it takes tickets, tenants in turn, and sees each to a node. */
import { background } from '../../lib/background.ts';
import type { Logger } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { pendingRecord } from '../../protocol/node.ts';
import type { RedisLink } from '../redis/link.ts';
import type { Known, KnownLines } from './known-lines.ts';
import type { Owed } from './owed.ts';
import { weightOf, type Offer, type Outcome } from './queue.ts';
import type { Taken, Tickets } from './tickets.ts';
import type { WaitingRoom } from './waiting-room.ts';

export interface QueueServerOptions {
  link: RedisLink;
  room: WaitingRoom;
  tickets: Tickets;
  lines: KnownLines;
  owed: Owed;
  log: Logger;
  /** Tickets of gateways that died are looked for this often, while anything waits. */
  recoverMs: number;
  /** A node has it. */
  onPlaced: (id: string) => void;
}

/** Tickets that this gateway has taken and not yet placed. */
const MAX_TAKEN = 64;
/** Tenants of whom lost tickets are looked for at once. */
const MAX_RECOVERED = 64;

export class QueueServer {
  readonly #options: QueueServerOptions;
  readonly #stopping = new AbortController();
  /** Tickets that this gateway has taken, on their way to a node or back. */
  readonly #finishing = new Set<Promise<void>>();
  #offer: Offer | null = null;
  #recoveredAt = -Infinity;
  /** How many tenants have had their look in this round. */
  #recovered = 0;
  #serving = false;
  #serveAgain = false;

  constructor(options: QueueServerOptions) {
    this.#options = options;
  }

  start(offer: Offer): void {
    this.#offer = offer;
  }

  /** There may be room, or somebody who waits for it. Costs nothing where nobody does. */
  wake(): void {
    if (this.#options.lines.size === 0) return;
    this.#serveAgain = true;
    if (this.#serving || this.#stopping.signal.aborted) return;
    this.#serving = true;
    const serving = this.#serve().finally(() => (this.#serving = false));
    background(serving, 'serve the shared queue', this.#options.log);
  }

  /** Takes nothing more. Resolves once what is in hand is on a node or back. */
  async stop(): Promise<void> {
    this.#stopping.abort(new ServiceError('cancelled'));
    await Promise.all(this.#finishing);
  }

  async #serve(): Promise<void> {
    const { link, lines } = this.#options;
    while (this.#serveAgain && link.up && !this.#stopping.signal.aborted) {
      this.#serveAgain = false;
      this.#recover();
      const stuck = new Set<string>();
      for (let one = lines.next(stuck); one !== undefined; one = lines.next(stuck)) {
        if (this.#finishing.size >= MAX_TAKEN) return;
        if (!(await this.#serveTenant(one))) stuck.add(one.tenant);
      }
    }
  }

  /** Takes the first ticket of the tenant and offers it. False: nothing of this tenant can go now. */
  async #serveTenant({ tenant, record }: Known): Promise<boolean> {
    const { lines, tickets, log } = this.#options;
    if (!lines.fits(record)) return false;
    const taken = await tickets.take(tenant).catch(() => null);
    if (taken === null) return false;
    const { id } = taken.ticket.spec;
    if (lines.get(id) === undefined) lines.tell(pendingRecord(taken.ticket.spec));
    const outcome = this.#offer?.(taken.ticket, taken) ?? null;
    if (outcome === null) {
      await taken.back().catch(() => undefined);
      return false;
    }
    lines.remove(id);
    lines.served(tenant);
    const finished = this.#finish(taken, outcome).finally(() => {
      this.#finishing.delete(finished);
      this.wake();
    });
    this.#finishing.add(finished);
    background(finished, 'place a ticket', log);
    return true;
  }

  async #finish(taken: Taken, outcome: Promise<Outcome>): Promise<void> {
    const { lines, room, owed, onPlaced } = this.#options;
    const { spec, priority } = taken.ticket;
    const what = await outcome;
    if (what === 'placed') {
      onPlaced(spec.id);
      // Told late, the ticket is taken once more, and whoever takes it finds that it waits no longer.
      await owed.owe(`gone ${spec.id}`, () => room.gone(spec.id));
      await taken.done().catch(() => undefined);
      return;
    }
    lines.enter({ record: pendingRecord(spec), priority, weight: weightOf(taken.ticket) }, true);
    // Told late or never, its lock ends by itself.
    await taken.back(what === 'later').catch(() => undefined);
  }

  /** Looks for tickets whose gateways died: of so many tenants at a time, all in turn. */
  #recover(): void {
    const { tickets, lines, recoverMs } = this.#options;
    const now = performance.now();
    if (now - this.#recoveredAt < recoverMs) return;
    this.#recoveredAt = now;
    const tenants = lines.tenants;
    const first = this.#recovered >= tenants.length ? 0 : this.#recovered;
    this.#recovered = first + MAX_RECOVERED;
    for (const tenant of tenants.slice(first, this.#recovered)) {
      tickets.recover(tenant).then(
        (freed) => (freed ? this.wake() : undefined),
        () => undefined,
      );
    }
  }
}
