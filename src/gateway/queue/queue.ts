/**
 * Sandboxes that wait for a node. One gateway keeps them in memory; several share them through a store, and whichever
 * takes a ticket offers it. Everything in a ticket can be written down.
 */
import type { SandboxSpec } from '../../protocol/node.ts';

export interface Ticket {
  spec: SandboxSpec;
  /** Higher goes first within a tenant. */
  priority: number;
  /** How many tickets of this tenant go in one turn of it; 1 unless given. */
  weight?: number;
}

/** placed: a node has it, or nobody wants it any more. later: offer it again, before younger ones of its tenant. */
export type Outcome = 'placed' | 'later';

/** Tries to place one. Null: no node has room now, and nothing was done. Never rejects. */
export type Offer = (ticket: Ticket) => Promise<Outcome> | null;

export interface PlacementQueue {
  /** Must be called once, before anything else. */
  start(offer: Offer): void;
  /** Offers the ticket at once if nobody of its tenant waits. @throws ServiceError `capacity_exhausted` when full. */
  add(ticket: Ticket): void;
  /** Nobody wants it any more. */
  remove(id: string): void;
  /** There may be room where there was none. */
  wake(): void;
  /** How many are before it, from 0; null when it does not wait. */
  position(id: string): number | null;
  readonly depth: number;
  stop(): void;
}
