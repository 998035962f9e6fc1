/** One sandbox as the gateway knows it. Once it is placed, its node is the truth; before, this is all there is. */
import { toSandbox, type SandboxRecord } from '../../protocol/node.ts';
import { isEnded, type EndReason, type Sandbox } from '../../protocol/sandbox.ts';
import type { Node } from '../nodes/node.ts';

export class Entry {
  readonly id: string;
  readonly tenant: string;
  /** Never changes, whatever a node says later: pages are ordered by it. */
  readonly createdAtMs: number;
  record: SandboxRecord;
  /** Where it is, or was sent. */
  node: Node | null = null;
  /** The node has said that it has it. */
  accepted = false;
  /** Some node was told of it from here, and has not refused it: it may be there. */
  sent = false;
  /** When it was first found to have ended, by the monotonic clock: nodes say when that was by clocks of their own. */
  endSeenAt: number | null = null;
  /** It was deleted when its node was lost already. */
  renounced = false;
  /** Other nodes that say that it is alive there; one of them all keeps it. */
  readonly rivals = new Map<Node, SandboxRecord>();
  readonly #waiters = new Set<() => void>();

  constructor(record: SandboxRecord) {
    this.id = record.id;
    this.tenant = record.tenant;
    this.createdAtMs = record.createdAtMs;
    this.record = record;
  }

  get ended(): boolean {
    return isEnded(this.record.status);
  }

  /** It has no node, and is on its way to none, as far as is known here. */
  get waits(): boolean {
    return this.node === null && !this.accepted && !this.sent && !this.ended;
  }

  view(): Sandbox {
    return toSandbox(this.record, this.node?.name ?? null);
  }

  /** Tells whoever waits that something has changed. */
  notify(): void {
    for (const waiter of [...this.#waiters]) waiter();
  }

  /**
   * Resolves as soon as `until` holds, with true, or with false after `ms` or at the signal. Nothing is polled.
   */
  async wait(until: () => boolean, ms: number, signal?: AbortSignal): Promise<boolean> {
    if (until()) return true;
    if (ms <= 0 || signal?.aborted) return false;
    const done = Promise.withResolvers<boolean>();
    const waiter = (): void => {
      if (until()) done.resolve(true);
    };
    const give = (): void => done.resolve(false);
    const timer = setTimeout(give, ms);
    signal?.addEventListener('abort', give, { once: true });
    this.#waiters.add(waiter);
    try {
      return await done.promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', give);
      this.#waiters.delete(waiter);
    }
  }
}

const STATUS_OF: Record<EndReason, 'TERMINATED' | 'TIMEOUT' | 'ERROR'> = {
  deleted: 'TERMINATED',
  lifetime: 'TIMEOUT',
  idle: 'TIMEOUT',
  oom: 'ERROR',
  image_pull_failed: 'ERROR',
  start_failed: 'ERROR',
  node_lost: 'ERROR',
  node_drained: 'ERROR',
  internal: 'ERROR',
};

/** The record of a sandbox that ended by the gateway's word. */
export function endedRecord(
  record: SandboxRecord,
  reason: EndReason,
  message: string | null,
  now: number,
): SandboxRecord {
  return { ...record, status: STATUS_OF[reason], reason, message, endedAtMs: now };
}
