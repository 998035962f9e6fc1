/**
 * Who may join a bounded queue. A tenant's share is half of the places. Places beyond it are only lent: a tenant gets
 * them while nobody else waits, and they do not count against others who join later. So no tenant can fill the queue
 * for the others, and a single tenant can use all of it. The queue then holds at most one and a half times its nominal
 * size.
 */
import { ServiceError } from '../../protocol/errors.ts';

/** full: no place is left. share: the tenant has used its share, and others are waiting. */
export type QueueRefusal = 'full' | 'share';

export interface QueueUse {
  /** Places in all. */
  max: number;
  /** How many wait, over all tenants. */
  total: number;
  /** How many of them belong to the tenant that asks. */
  own: number;
  /** How many belong to the tenant that has the most. */
  most: number;
}

/** When a refused caller may ask again. */
export const RETRY_AFTER_MS = 1_000;

export const shareOf = (max: number): number => Math.ceil(max / 2);

/** Null: one more of this tenant may wait. The Redis script `ANNOUNCE` applies the same rule (scripts.ts). */
export function refusalOf({ max, total, own, most }: QueueUse): QueueRefusal | null {
  const share = shareOf(max);
  if (own >= share && total > own) return 'share';
  if (total < max) return null;
  const lent = own < share ? Math.max(0, most - share) : 0;
  return total - lent < max ? null : 'full';
}

/** The error of a create for which there is neither a node nor a place in the queue. */
export function queueRefusedError(reason: QueueRefusal, { max, total, own }: Omit<QueueUse, 'most'>): ServiceError {
  if (reason === 'full') {
    return new ServiceError('capacity_exhausted', 'no node has room, and the queue is full', {
      retryAfterMs: RETRY_AFTER_MS,
      details: { queued: total },
    });
  }
  const message = 'no node has room, and the tenant has used its share of the queue';
  return new ServiceError('quota_exceeded', message, {
    retryAfterMs: RETRY_AFTER_MS,
    details: { quota: 'waiting', limit: shareOf(max), used: own },
  });
}
