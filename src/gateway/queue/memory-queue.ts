/** The queue of a single gateway: first come, first served within a tenant, tenants in turn, by their weight. */
import { ServiceError } from '../../protocol/errors.ts';
import type { Offer, PlacementQueue, Ticket } from './queue.ts';

export interface MemoryQueueOptions {
  /** Tickets that may wait, all tenants together. */
  max: number;
}

const RETRY_AFTER_MS = 1_000;
/** Even with no word from any node, what waits is offered again this often: a guard against a lost wake. */
const RECHECK_MS = 1_000;

interface Line {
  tickets: Ticket[];
  /** How many more go before the turn is the next tenant's. */
  turns: number;
}

export class MemoryQueue implements PlacementQueue {
  readonly #max: number;
  /** In the order in which their turns come. */
  readonly #lines = new Map<string, Line>();
  readonly #waiting = new Map<string, Ticket>();
  #offer: Offer | null = null;
  #timer: NodeJS.Timeout | null = null;
  #awake = false;

  constructor({ max }: MemoryQueueOptions) {
    this.#max = max;
  }

  get depth(): number {
    return this.#waiting.size;
  }

  start(offer: Offer): void {
    this.#offer = offer;
  }

  add(ticket: Ticket): void {
    if (!this.#lines.has(ticket.spec.tenant) && this.#tryNow(ticket)) return;
    if (this.#waiting.size >= this.#max) {
      throw new ServiceError('capacity_exhausted', 'No node has room, and the queue is full.', {
        retryAfterMs: RETRY_AFTER_MS,
        details: { queued: this.#waiting.size },
      });
    }
    this.#enqueue(ticket, false);
  }

  remove(id: string): void {
    const ticket = this.#waiting.get(id);
    if (ticket === undefined) return;
    const line = this.#lines.get(ticket.spec.tenant)?.tickets;
    const at = line?.indexOf(ticket) ?? -1;
    if (line !== undefined && at >= 0) line.splice(at, 1);
    this.#left(ticket);
  }

  wake(): void {
    if (this.#awake || this.#waiting.size === 0) return;
    this.#awake = true;
    queueMicrotask(() => {
      this.#awake = false;
      this.#round();
    });
  }

  position(id: string): number | null {
    const ticket = this.#waiting.get(id);
    if (ticket === undefined) return null;
    const place = this.#lines.get(ticket.spec.tenant)?.tickets.indexOf(ticket) ?? 0;
    // Tenants take turns: of each other line, as many turns go first as this one's own line has before it.
    const turns = Math.floor(place / weightOf(ticket));
    let before = 0;
    for (const [tenant, { tickets }] of this.#lines) {
      if (tenant === ticket.spec.tenant) before += place;
      else before += Math.min(tickets.length, turns * weightOf(tickets[0]));
    }
    return before;
  }

  stop(): void {
    this.#offer = null;
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#lines.clear();
    this.#waiting.clear();
  }

  /** Each tenant in turn gets its first tickets offered, until none of the firsts fits anywhere. */
  #round(): void {
    const stuck = new Set<string>();
    for (;;) {
      const next = this.#next(stuck);
      if (next === undefined) return;
      const [tenant, line, ticket] = next;
      if (!this.#tryNow(ticket)) {
        stuck.add(tenant);
        continue;
      }
      line.tickets.shift();
      line.turns -= 1;
      if (line.turns <= 0) {
        line.turns = weightOf(line.tickets[0]);
        // To the end of the turns.
        this.#lines.delete(tenant);
        this.#lines.set(tenant, line);
      }
      this.#left(ticket);
    }
  }

  /** The line whose turn it is, of those that are not stuck. */
  #next(stuck: ReadonlySet<string>): [tenant: string, line: Line, first: Ticket] | undefined {
    for (const [tenant, line] of this.#lines) {
      const [ticket] = line.tickets;
      if (ticket !== undefined && !stuck.has(tenant)) return [tenant, line, ticket];
    }
    return undefined;
  }

  /** Whether it is on its way. */
  #tryNow(ticket: Ticket): boolean {
    const outcome = this.#offer?.(ticket) ?? null;
    if (outcome === null) return false;
    void outcome.then((what) => {
      if (what === 'later' && this.#offer !== null) {
        this.#enqueue(ticket, true);
        this.wake();
      }
    });
    return true;
  }

  #enqueue(ticket: Ticket, first: boolean): void {
    let line = this.#lines.get(ticket.spec.tenant);
    if (line === undefined) this.#lines.set(ticket.spec.tenant, (line = { tickets: [], turns: weightOf(ticket) }));
    const { tickets } = line;
    const after = tickets.findIndex((t) => (first ? t.priority <= ticket.priority : t.priority < ticket.priority));
    tickets.splice(after < 0 ? tickets.length : after, 0, ticket);
    this.#waiting.set(ticket.spec.id, ticket);
    this.#timer ??= setInterval(() => this.wake(), RECHECK_MS).unref();
  }

  #left(ticket: Ticket): void {
    this.#waiting.delete(ticket.spec.id);
    if (this.#lines.get(ticket.spec.tenant)?.tickets.length === 0) this.#lines.delete(ticket.spec.tenant);
    if (this.#waiting.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }
}

const weightOf = (ticket: Ticket | undefined): number => Math.max(1, ticket?.weight ?? 1);
