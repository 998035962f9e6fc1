/** The queue of a single gateway: first come, first served within a tenant; tenants take turns by weight. */
import { FairQueue, type Waiting } from './fair-queue.ts';
import { queueRefusedError, refusalOf } from './fair-share.ts';
import { weightOf, type Offer, type PlacementQueue, type Ticket } from './queue.ts';

export interface MemoryQueueOptions {
  /** Tickets that may wait, over all tenants. */
  max: number;
}

interface Held extends Waiting {
  readonly ticket: Ticket;
  /** Sequence number over all tickets. */
  readonly number: number;
}

/** Waiting tickets are offered again this often even when no node reports anything: a guard against a lost wake-up. */
const RECHECK_MS = 1_000;

export class MemoryQueue implements PlacementQueue {
  readonly informed = true;
  readonly #max: number;
  readonly #queue = new FairQueue<Held>((a, b) => a.number < b.number);
  #offer: Offer | null = null;
  #timer: NodeJS.Timeout | null = null;
  #awake = false;
  #added = 0;

  constructor({ max }: MemoryQueueOptions) {
    this.#max = max;
  }

  get depth(): number {
    return this.#queue.size;
  }

  start(offer: Offer): void {
    this.#offer = offer;
  }

  async whenInformed(): Promise<void> {}

  /** There are no other gateways. */
  assertRoom(): void {}

  /** Nothing is taken back. */
  assertSettled(): void {}

  add(ticket: Ticket): void {
    const { id, tenant } = ticket.spec;
    const held = {
      id,
      tenant,
      priority: ticket.priority,
      weight: weightOf(ticket),
      ticket,
      number: (this.#added += 1),
    };
    if (!this.#queue.has(tenant) && this.#tryNow(held, () => this.#queue.add(held))) return;
    const use = { max: this.#max, total: this.#queue.size, own: this.#queue.count(tenant) };
    const refusal = refusalOf({ ...use, most: this.#queue.longest });
    if (refusal !== null) throw queueRefusedError(refusal, use);
    this.#queue.add(held);
    this.#startTimer();
  }

  /** There are no other gateways. */
  share(): void {}

  placed(id: string): void {
    this.#queue.serve(id);
    this.#rest();
  }

  remove(id: string): void {
    this.#queue.remove(id);
    this.#rest();
  }

  takeBack(): null {
    return null;
  }

  overdue(): boolean {
    return true;
  }

  /** There are no other gateways to inform. */
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
      if (!this.#tryNow(held, () => this.#queue.giveBack(held))) {
        stuck.add(held.tenant);
        continue;
      }
      this.#queue.serve(held.id);
    }
    this.#rest();
  }

  /** Whether the ticket is on its way to a node. `comesBack` is called if no node has it after all. */
  #tryNow(held: Held, comesBack: () => void): boolean {
    const outcome = this.#offer?.(held.ticket) ?? null;
    if (outcome === null) return false;
    void outcome.then((what) => {
      if (what === 'placed' || what === 'lost' || this.#offer === null) return;
      comesBack();
      this.#startTimer();
      this.wake();
    });
    return true;
  }

  #startTimer(): void {
    this.#timer ??= setInterval(() => this.wake(), RECHECK_MS).unref();
  }

  /** Stops the timer when nothing waits. */
  #rest(): void {
    if (this.#queue.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }
}
