/**
 * Sandboxes that wait for a node. One gateway keeps them in memory; several share them through Redis, and whichever
 * takes a ticket offers it. Everything in a ticket can be written down.
 */
import type { SandboxRecord, SandboxSpec } from '../../protocol/node.ts';

export interface Ticket {
  spec: SandboxSpec;
  /** Higher goes first within a tenant. */
  priority: number;
  /** How many tickets of this tenant go in one turn of it; 1 unless given. */
  weight?: number;
}

export const weightOf = ({ weight = 1 }: Pick<Ticket, 'weight'>): number => Math.max(1, weight);

/**
 * placed: a node has it, or nobody wants it any more. later: no node has it; offer it again, before younger ones of its
 * tenant. unclear: as later, but the node that is named may have it. lost: another gateway has the ticket by now.
 */
export type Outcome = 'placed' | 'later' | 'lost' | { unclear: string };

/** Leave to send one ticket to a node, where other gateways could have got the same ticket. */
export interface Leave {
  /**
   * The node that it was sent to before, with an outcome that nobody knows; null: none. Whoever sent it may have died, and
   * the message may even be under way still.
   */
  readonly triedOn: string | null;
  /**
   * Asks for leave to send it to this node. lost: another gateway has the ticket. ended: it was deleted meanwhile.
   * gone: it waits no more.
   * @throws ServiceError when nobody can say
   */
  claim(node: string): Promise<'granted' | 'lost' | 'ended' | 'gone'>;
  /** Whether what was granted still holds: asked in the very tick in which it is used. */
  holds(): boolean;
}

/** Tries to place one. Null: no node has room now, and nothing was done. Never rejects. */
export type Offer = (ticket: Ticket, leave?: Leave) => Promise<Outcome> | null;

/** What a queue that several gateways share needs of each of them. */
export interface Sharing {
  /** Whether a node has room for it now, as far as is known. */
  fits(need: { image: string; cpus: number; memoryMb: number }): boolean;
  /** Whether it has neither a node nor an end, as far as this gateway knows. */
  isOpen(id: string): boolean;
  /** Whether all nodes are heard now, so that none can have what is not known here. */
  hearsAll(): boolean;
  /** A sandbox that waits, or that ended while it waited, by the word of another gateway. */
  heard(record: SandboxRecord): void;
  /** Another gateway has turned down whoever asked for it: with this record it has ended, unless it was made meanwhile. */
  withdrawn(record: SandboxRecord): void;
}

export interface PlacementQueue {
  /** Must be called once, before anything else. */
  start(offer: Offer, sharing: Sharing): void;
  /**
   * Offers the ticket at once if nobody of its tenant waits. A promise resolves once the sandbox is written down, by a
   * node or by the queue.
   * @throws ServiceError when it would have to wait and cannot, at once or in the promise: `capacity_exhausted`, or
   * `quota_exceeded` when its tenant has its share of the places.
   */
  add(ticket: Ticket): void | Promise<void>;
  /**
   * It waits already, as another gateway says: this one sees to it from now on as well, since that one may be about to
   * take it back, or may have died before all of it was written down.
   * @throws ServiceError as `add`
   */
  share(ticket: Ticket): void | Promise<void>;
  /** Nobody wants it any more. */
  remove(id: string): void;
  /** It has ended before any node had it: that holds for all gateways. A promise resolves when they can know. */
  bury(record: SandboxRecord): void | Promise<void>;
  /** There may be room where there was none. */
  wake(): void;
  /** How many are before it, from 0; null when it does not wait. */
  position(id: string): number | null;
  readonly depth: number;
  /** Whether all that waits is known here. False: a sandbox that is not known may wait all the same. */
  readonly informed: boolean;
  stop(): void | Promise<void>;
}
