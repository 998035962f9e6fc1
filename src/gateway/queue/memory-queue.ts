/** The queue of a single gateway: first come, first served within a tenant, tenants in turn, by their weight. */
import { Lines, type Waiting } from './lines.ts';
import { noPlaceError, refusalOf } from './places.ts';
import { weightOf, type Offer, type PlacementQueue, type Ticket } from './queue.ts';

export interface MemoryQueueOptions {
  /** Tickets that may wait, all tenants together. */
  max: number;
}

interface Held extends Waiting {
  readonly ticket: Ticket;
}

/** Even with no word from any node, what waits is offered again this often: a guard against a lost wake. */
const RECHECK_MS = 1_000;

export class MemoryQueue implements PlacementQueue {
  readonly informed = true;
  readonly #max: number;
  readonly #lines = new Lines<Held>();
  #offer: Offer | null = null;
  #timer: NodeJS.Timeout | null = null;
  #awake = false;

  constructor({ max }: MemoryQueueOptions) {
    this.#max = max;
  }

  get depth(): number {
    return this.#lines.size;
  }

  start(offer: Offer): void {
    this.#offer = offer;
  }

  add(ticket: Ticket): void {
    const { tenant } = ticket.spec;
    if (!this.#lines.has(tenant) && this.#tryNow(ticket)) return;
    const crowd = { max: this.#max, total: this.#lines.size, own: this.#lines.count(tenant) };
    const refusal = refusalOf({ ...crowd, most: this.#lines.longest });
    if (refusal !== null) throw noPlaceError(refusal, crowd);
    this.#enqueue(ticket, false);
  }

  /** There are no others. */
  share(): void {}

  remove(id: string): void {
    this.#lines.remove(id);
    this.#rest();
  }

  /** There is nobody else to tell. */
  bury(): void {}

  wake(): void {
    if (this.#awake || this.#lines.size === 0) return;
    this.#awake = true;
    queueMicrotask(() => {
      this.#awake = false;
      this.#round();
    });
  }

  position(id: string): number | null {
    return this.#lines.position(id);
  }

  stop(): void {
    this.#offer = null;
    this.#lines.clear();
    this.#rest();
  }

  /** Each tenant in turn gets its first tickets offered, until none of the firsts fits anywhere. */
  #round(): void {
    const stuck = new Set<string>();
    for (;;) {
      const held = this.#lines.next(stuck);
      if (held === undefined) break;
      if (!this.#tryNow(held.ticket)) {
        stuck.add(held.tenant);
        continue;
      }
      this.#lines.remove(held.id);
      this.#lines.served(held.tenant);
    }
    this.#rest();
  }

  /** Whether it is on its way. */
  #tryNow(ticket: Ticket): boolean {
    const outcome = this.#offer?.(ticket) ?? null;
    if (outcome === null) return false;
    void outcome.then((what) => {
      if (what === 'placed' || what === 'lost' || this.#offer === null) return;
      this.#enqueue(ticket, true);
      this.wake();
    });
    return true;
  }

  #enqueue(ticket: Ticket, ahead: boolean): void {
    const { id, tenant } = ticket.spec;
    this.#lines.add({ id, tenant, priority: ticket.priority, weight: weightOf(ticket), ticket }, ahead);
    this.#timer ??= setInterval(() => this.wake(), RECHECK_MS).unref();
  }

  /** With nobody waiting there is nothing to look after. */
  #rest(): void {
    if (this.#lines.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }
}
