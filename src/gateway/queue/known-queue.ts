/** This gateway's view of everything that waits, whichever gateway accepted it. */
import type { SandboxRecord } from '../../protocol/node.ts';
import { FairQueue, type Waiting } from './fair-queue.ts';
import type { QueueHooks } from './queue.ts';
import type { WaitingItem } from './waiting-list.ts';

export interface Known extends Waiting {
  readonly record: SandboxRecord;
}

export class KnownQueue extends FairQueue<Known> {
  #hooks: QueueHooks | null = null;
  #telling: string | null = null;

  constructor() {
    super((a, b) => a.record.createdAtMs < b.record.createdAtMs);
  }

  start(hooks: QueueHooks): void {
    this.#hooks = hooks;
  }

  /**
   * Id of the record that is being passed on to this gateway right now. It came from Redis, so Redis need not be told.
   */
  get telling(): string | null {
    return this.#telling;
  }

  /** Null before `start`. */
  isOpen(id: string): boolean | null {
    return this.#hooks?.isOpen(id) ?? null;
  }

  /** Whether a node has said that it has it. */
  isPlaced(id: string): boolean {
    return this.#hooks?.isPlaced(id) === true;
  }

  /** Whether it certainly has no node and has not ended: every node has reported. */
  isLeft(id: string): boolean {
    return this.isOpen(id) === true && this.#hooks?.hearsAll() === true;
  }

  /** Whether the nodes have room for all of these. */
  fits(needs: Parameters<QueueHooks['fits']>[0]): boolean {
    return this.#hooks?.fits(needs) === true;
  }

  /** Adds it in its place by age, unless it waits already, has a node or has ended. */
  enter(item: WaitingItem): void {
    if (this.#mayWait(item)) this.add(known(item));
  }

  /** It was taken, and no node has it: it waits on, and its tenant goes next. */
  reenter(item: WaitingItem): void {
    if (this.#mayWait(item)) this.giveBack(known(item));
  }

  #mayWait({ record: { id } }: WaitingItem): boolean {
    return this.get(id) === undefined && this.isOpen(id) !== false;
  }

  /** Passes another gateway's record of a sandbox on to this one. */
  tell(record: SandboxRecord): void {
    this.#tell(record, (hooks) => hooks.heard(record));
  }

  /** Passes on that another gateway refused the create of this sandbox. */
  tellWithdrawn(record: SandboxRecord): void {
    this.#tell(record, (hooks) => hooks.withdrawn(record));
  }

  #tell({ id }: SandboxRecord, pass: (hooks: QueueHooks) => void): void {
    if (this.#hooks === null) return;
    this.#telling = id;
    try {
      pass(this.#hooks);
    } finally {
      this.#telling = null;
    }
  }
}

function known({ record, priority, weight }: WaitingItem): Known {
  return { id: record.id, tenant: record.tenant, priority, weight, record };
}
