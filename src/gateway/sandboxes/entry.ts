/** One sandbox as the gateway knows it. Once it is placed its node is authoritative; until then this entry is. */
import { toSandbox, type SandboxRecord } from '../../protocol/node.ts';
import { isEnded, type EndReason, type Sandbox } from '../../protocol/sandbox.ts';
import type { Node } from '../nodes/node.ts';

export class Entry {
  readonly id: string;
  readonly tenant: string;
  /** Never changes, whatever a node reports later: pages are ordered by it. */
  readonly createdAtMs: number;
  record: SandboxRecord;
  /** The node that it runs on or was sent to. */
  node: Node | null = null;
  /** The node has reported it. */
  accepted = false;
  /** This gateway sent it to some node that has not refused it, so it may exist there. */
  sent = false;
  /** When this gateway first saw that it had ended, by the monotonic clock: the clocks of nodes may differ. */
  endSeenAt: number | null = null;
  /** It was deleted after its node was lost, so it must not come back with the node. */
  renounced = false;
  /** Its node has said that it has ended. */
  confirmed = false;
  /** Other nodes that report it as alive. Only one of all these nodes keeps it. */
  readonly duplicates = new Map<Node, SandboxRecord>();
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

  /** It has no node and, as far as this gateway knows, is not being sent to one. */
  get waits(): boolean {
    return this.node === null && !this.accepted && !this.sent && !this.ended;
  }

  /** It was deleted while its node was away, which may have it still and must be told once it is back. */
  get isOwed(): boolean {
    const deleted = this.renounced || this.record.reason === 'deleted';
    // Without a node here, another gateway tells of it: what has run may be on a node.
    const away = this.node === null ? this.record.startedAtMs !== null : !this.node.up;
    return this.ended && deleted && !this.confirmed && away;
  }

  view(): Sandbox {
    return toSandbox(this.record, this.node?.name ?? null);
  }

  /** Wakes all waiters after a change. */
  notify(): void {
    for (const waiter of [...this.#waiters]) waiter();
  }

  /**
   * Resolves with true as soon as `until` holds, or with false after `ms` or at the signal. It does not poll.
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

/**
 * The message of sandboxes that a create had begun before it failed. Gateways recognise them by it, those of other
 * versions included, so its text never changes.
 */
export const TAKEN_BACK = 'The create that it was part of was turned down.';

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

/** The record of a sandbox that the gateway has ended. */
export function endedRecord(
  record: SandboxRecord,
  reason: EndReason,
  message: string | null,
  now: number,
): SandboxRecord {
  return { ...record, status: STATUS_OF[reason], reason, message, endedAtMs: now };
}

/** The record of a sandbox whose wait for a node is over. `lifetime`: its lifetime was shorter than any wait may be. */
export function overdueRecord(
  record: SandboxRecord,
  { lifetime, waitMs, now }: { lifetime: boolean; waitMs: number; now: number },
): SandboxRecord {
  return lifetime
    ? endedRecord(record, 'lifetime', 'no node had room within its lifetime', now)
    : endedRecord(record, 'start_failed', `no node had room within ${waitMs} ms`, now);
}
