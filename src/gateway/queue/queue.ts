/**
 * Sandboxes that wait for a node. A single gateway keeps them in memory; several share them through Redis, and
 * whichever takes a ticket offers it to the nodes. A ticket is plain JSON.
 */
import type { SandboxRecord, SandboxSpec } from '../../protocol/node.ts';

export interface Ticket {
  spec: SandboxSpec;
  /** Higher goes first within a tenant. */
  priority: number;
  /** How many tickets of this tenant go in one of its turns; 1 unless given. */
  weight?: number;
}

export const weightOf = ({ weight = 1 }: Pick<Ticket, 'weight'>): number => Math.max(1, weight);

/**
 * placed: a node has it, or nobody wants it any more. later: no node has it; offer it again, before its tenant's
 * younger ones. unclear: like later, but the named node may have it. lost: another gateway has the ticket by now.
 */
export type Outcome = 'placed' | 'later' | 'lost' | { unclear: string };

/** A permit to send one ticket to a node. Needed where other gateways could hold the same ticket. */
export interface Permit {
  /**
   * The node that the ticket was sent to before with an unknown outcome; null: none. The gateway that sent it may have
   * died, and the message may even still be in flight.
   */
  readonly triedOn: string | null;
  /**
   * Asks whether the ticket may be sent to this node. lost: another gateway has the ticket. ended: the sandbox was
   * deleted meanwhile. gone: it does not wait any more.
   * @throws ServiceError when Redis cannot be reached
   */
  claim(node: string): Promise<'granted' | 'lost' | 'ended' | 'gone'>;
  /** Whether the grant still holds. Ask in the same tick in which it is used. */
  holds(): boolean;
}

/** Facts about the create call that a ticket is part of. Without Redis, nothing of that call may be taken back. */
export interface Company {
  /** It asked for more than one sandbox. */
  together: boolean;
  /** Its key could not be looked up, so another gateway may have accepted it. */
  alone: boolean;
  /** It has a key, so a retry at another gateway may find what was refused here. */
  keyed: boolean;
  /** Whether a node may have any of it by now. */
  begun(): boolean;
}

/** Tries to place a ticket. Null: no node has room now, and nothing was done. Never rejects. */
export type Offer = (ticket: Ticket, permit?: Permit) => Promise<Outcome> | null;

/** What a shared queue calls on each gateway. */
export interface QueueHooks {
  /** Whether the nodes have room for all of these now, as far as this gateway knows. */
  fits(needs: readonly { image: string; cpus: number; memoryMb: number }[]): boolean;
  /** Whether it has no node and has not ended, as far as this gateway knows. */
  isOpen(id: string): boolean;
  /** Whether a node has said that it has it, or had it until it ended. */
  isPlaced(id: string): boolean;
  /** Whether all nodes are connected, so that none can have a sandbox that is unknown here. */
  hearsAll(): boolean;
  /** Another gateway reports a sandbox that waits, or that ended while it waited. */
  heard(record: SandboxRecord): void;
  /** Another gateway refused the create: the sandbox ended with this record, unless it was made here meanwhile. */
  withdrawn(record: SandboxRecord): void;
}

export interface PlacementQueue {
  /** Must be called once, before anything else. */
  start(offer: Offer, hooks: QueueHooks): void;
  /**
   * To be called before the tickets of one create are added. A gateway that does not know whether another has accepted
   * the same create must take back nothing that it has sent to a node. So it sends either all of them or none.
   * @throws ServiceError `capacity_exhausted` when some would have to wait and cannot, or might have to be taken back
   */
  assertRoom(specs: readonly SandboxSpec[], company: Company): void;
  /**
   * Offers the ticket at once if its tenant has nothing waiting. A returned promise resolves once the sandbox is
   * recorded, by a node or by the queue.
   * @param company if anything of it may be on a node, and must stay there, the ticket is kept here rather than refused
   * @throws ServiceError (synchronously or in the promise) when it would have to wait and cannot: `capacity_exhausted`,
   * or `quota_exceeded` when its tenant has used its share of the queue.
   */
  add(ticket: Ticket, company?: Company): void | Promise<void>;
  /**
   * Another gateway reports that this ticket waits already. From now on this gateway keeps it too, since the other one
   * may be about to withdraw it, or may have died before it was written completely.
   * @param company as for `add`
   * @throws ServiceError as `add`
   */
  share(ticket: Ticket, company?: Company): void | Promise<void>;
  /** A node has it, whichever gateway sent it there. */
  placed(id: string): void;
  /** Nobody wants it any more. */
  remove(id: string): void;
  /**
   * Of the create that it is part of, something else was turned down: strikes it out, unless another gateway accepts the
   * same create before that is done. False: nothing was done, and its end must be recorded.
   */
  takeBack(id: string): boolean;
  /**
   * It has waited here for as long as it may. True: the caller may end it now. False: it ends as soon as it is certain
   * that it waits at no other gateway either.
   * @param ended its final record
   */
  overdue(ended: SandboxRecord): boolean;
  /** It ended before any node had it, for all gateways. A returned promise resolves when the others can know. */
  recordEnd(record: SandboxRecord): void | Promise<void>;
  /** There may be room now where there was none. */
  wake(): void;
  /** How many go before it (0: next); null when it does not wait. */
  position(id: string): number | null;
  readonly depth: number;
  /** Whether everything that waits is known here. False: an unknown sandbox may be waiting all the same. */
  readonly informed: boolean;
  stop(): void | Promise<void>;
}
