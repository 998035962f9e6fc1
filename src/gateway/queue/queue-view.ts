/** This gateway's view of the shared queue: every waiting sandbox, whichever gateway accepted it. */
import type { SandboxRecord } from '../../protocol/node.ts';
import { FairQueue, type Waiting } from './fair-queue.ts';
import type { QueueHooks } from './queue.ts';
import type { WaitingItem } from './waiting-list.ts';

export interface QueueEntry extends Waiting {
  readonly record: SandboxRecord;
}

export class QueueView extends FairQueue<QueueEntry> {
  #hooks: QueueHooks | null = null;
  #applying: string | null = null;

  constructor() {
    super((a, b) => a.record.createdAtMs < b.record.createdAtMs);
  }

  start(hooks: QueueHooks): void {
    this.#hooks = hooks;
  }

  /**
   * Id of the record that is being applied on this gateway right now. It came from Redis, so Redis need not be
   * informed.
   */
  get applying(): string | null {
    return this.#applying;
  }

  /** Null before `start`. */
  isOpen(id: string): boolean | null {
    return this.#hooks?.isOpen(id) ?? null;
  }

  /** Whether a node has reported it. */
  isPlaced(id: string): boolean {
    return this.#hooks?.isPlaced(id) === true;
  }

  /** Whether it certainly has no node and has not ended: every node is connected. */
  isLeft(id: string): boolean {
    return this.isOpen(id) === true && this.#hooks?.allConnected() === true;
  }

  /** Whether the nodes have room for all of these. */
  fits(needs: Parameters<QueueHooks['fits']>[0]): boolean {
    return this.#hooks?.fits(needs) === true;
  }

  /** Adds it at its place by age, unless it already waits, has a node or has ended. */
  enter(item: WaitingItem): void {
    if (this.#mayWait(item)) this.add(known(item));
  }

  /** It was taken, but no node has it: it keeps waiting, and its tenant goes next. */
  reenter(item: WaitingItem): void {
    if (this.#mayWait(item)) this.giveBack(known(item));
  }

  #mayWait({ record: { id } }: WaitingItem): boolean {
    return this.get(id) === undefined && this.isOpen(id) !== false;
  }

  /** Applies another gateway's record of a sandbox on this one. */
  apply(record: SandboxRecord): void {
    this.#pass(record, (hooks) => hooks.reported(record));
  }

  /** Applies another gateway's refusal of the create of this sandbox. */
  applyWithdrawal(record: SandboxRecord): void {
    this.#pass(record, (hooks) => hooks.withdrawn(record));
  }

  #pass({ id }: SandboxRecord, pass: (hooks: QueueHooks) => void): void {
    if (this.#hooks === null) return;
    this.#applying = id;
    try {
      pass(this.#hooks);
    } finally {
      this.#applying = null;
    }
  }
}

function known({ record, priority, weight }: WaitingItem): QueueEntry {
  return { id: record.id, tenant: record.tenant, priority, weight, record };
}
