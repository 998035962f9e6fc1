/** What this gateway knows of all that wait, wherever they were asked for: a line for each tenant. */
import type { SandboxRecord } from '../../protocol/node.ts';
import { Lines, type Waiting } from './lines.ts';
import type { Sharing } from './queue.ts';
import type { WaitingItem } from './waiting-room.ts';

export interface Known extends Waiting {
  readonly record: SandboxRecord;
}

export class KnownLines extends Lines<Known> {
  #sharing: Sharing | null = null;
  #telling: string | null = null;

  constructor() {
    super((a, b) => a.record.createdAtMs < b.record.createdAtMs);
  }

  start(sharing: Sharing): void {
    this.#sharing = sharing;
  }

  /** What is being passed on to the gateway at this moment came from Redis: nobody needs to tell Redis of it. */
  get telling(): string | null {
    return this.#telling;
  }

  /** Null: nobody can say yet. */
  isOpen(id: string): boolean | null {
    return this.#sharing?.isOpen(id) ?? null;
  }

  /** Whether it has neither a node nor an end for sure: every node was heard. */
  isLeft(id: string): boolean {
    return this.isOpen(id) === true && this.#sharing?.hearsAll() === true;
  }

  fits(record: SandboxRecord): boolean {
    return this.#sharing?.fits(record) === true;
  }

  /** From now on it waits, unless it does already, or has a node or an end. `ahead`: before all of its priority. */
  enter({ record, priority, weight }: WaitingItem, ahead = false): void {
    if (this.get(record.id) !== undefined || this.isOpen(record.id) === false) return;
    this.add({ id: record.id, tenant: record.tenant, priority, weight, record }, ahead);
  }

  /** Passes on what another gateway says of a sandbox. */
  tell(record: SandboxRecord): void {
    this.#telling = record.id;
    this.#sharing?.heard(record);
    this.#telling = null;
  }

  /** Passes on that whoever asked for it was turned down. */
  tellWithdrawn(record: SandboxRecord): void {
    this.#telling = record.id;
    this.#sharing?.withdrawn(record);
    this.#telling = null;
  }
}
