/**
 * Who may begin to wait where places are bounded. Half of the places is a tenant's share. Beyond it places are only lent:
 * it has them while nobody else waits, and they do not count against others who come. So nobody can fill the queue for
 * all, and a service with a single tenant can use the whole of it. At most half as many again wait then.
 */
import { ServiceError } from '../../protocol/errors.ts';

/** full: no place is left. share: the tenant has its share, and others wait. */
export type NoPlace = 'full' | 'share';

export interface Crowd {
  /** Places in all. */
  max: number;
  /** How many wait, of all tenants. */
  total: number;
  /** How many of them are the tenant's that asks. */
  own: number;
  /** How many are of the tenant that has most. */
  most: number;
}

/** When whoever was turned down for want of a place may ask again. */
export const RETRY_AFTER_MS = 1_000;

export const shareOf = (max: number): number => Math.ceil(max / 2);

/** Null: one more of this tenant may wait. The form in Redis says the same (scripts.ts). */
export function refusalOf({ max, total, own, most }: Crowd): NoPlace | null {
  const share = shareOf(max);
  if (own >= share && total > own) return 'share';
  if (total < max) return null;
  const lent = own < share ? Math.max(0, most - share) : 0;
  return total - lent < max ? null : 'full';
}

/** What a create is told for which there is neither a node nor a place in the queue. */
export function noPlaceError(reason: NoPlace, { max, total, own }: Omit<Crowd, 'most'>): ServiceError {
  if (reason === 'full') {
    return new ServiceError('capacity_exhausted', 'No node has room, and the queue is full.', {
      retryAfterMs: RETRY_AFTER_MS,
      details: { queued: total },
    });
  }
  const message = 'No node has room, and the tenant has its share of the places in the queue.';
  return new ServiceError('quota_exceeded', message, {
    retryAfterMs: RETRY_AFTER_MS,
    details: { quota: 'waiting', limit: shareOf(max), used: own },
  });
}
