/** The queue of a single gateway: first come, first served within a tenant, tenants in turn, by their weight. */
import { FairQueue, type Waiting } from './fair-queue.ts';
import { queueRefusedError, refusalOf } from './fair-share.ts';
import { weightOf, type Offer, type PlacementQueue, type Ticket } from './queue.ts';

export interface MemoryQueueOptions {
  /** Tickets that may wait, all tenants together. */
  max: number;
}

interface Held extends Waiting {
  readonly ticket: Ticket;
}

/** Waiting tickets are offered again this often even when no node reports anything: a guard against a lost wake-up. */
const RECHECK_MS = 1_000;

export class MemoryQueue implements PlacementQueue {
  readonly informed = true;
  readonly #max: number;
  readonly #queue = new FairQueue<Held>();
  #offer: Offer | null = null;
  #timer: NodeJS.Timeout | null = null;
  #awake = false;

  constructor({ max }: MemoryQueueOptions) {
    this.#max = max;
  }

  get depth(): number {
    return this.#queue.size;
  }

  start(offer: Offer): void {
    this.#offer = offer;
  }

  add(ticket: Ticket): void {
    const { tenant } = ticket.spec;
    if (!this.#queue.has(tenant) && this.#tryNow(ticket)) return;
    const use = { max: this.#max, total: this.#queue.size, own: this.#queue.count(tenant) };
    const refusal = refusalOf({ ...use, most: this.#queue.longest });
    if (refusal !== null) throw queueRefusedError(refusal, use);
    this.#enqueue(ticket, false);
  }

  /** There are no other gateways. */
  share(): void {}

  remove(id: string): void {
    this.#queue.remove(id);
    this.#rest();
  }

  /** There is no other gateway to tell. */
  recordEnd(): void {}

  wake(): void {
    if (this.#awake || this.#queue.size === 0) return;
    this.#awake = true;
    queueMicrotask(() => {
      this.#awake = false;
      this.#round();
    });
  }

  position(id: string): number | null {
    return this.#queue.position(id);
  }

  stop(): void {
    this.#offer = null;
    this.#queue.clear();
    this.#rest();
  }

  /** Offers the tenants' first tickets in turn, until none of them fits anywhere. */
  #round(): void {
    const stuck = new Set<string>();
    for (;;) {
      const held = this.#queue.next(stuck);
      if (held === undefined) break;
      if (!this.#tryNow(held.ticket)) {
        stuck.add(held.tenant);
        continue;
      }
      this.#queue.remove(held.id);
      this.#queue.served(held.tenant);
    }
    this.#rest();
  }

  /** Whether the ticket is on its way to a node. */
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
    this.#queue.add({ id, tenant, priority: ticket.priority, weight: weightOf(ticket), ticket }, ahead);
    this.#timer ??= setInterval(() => this.wake(), RECHECK_MS).unref();
  }

  /** Stops the timer when nothing waits. */
  #rest(): void {
    if (this.#queue.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }
}
