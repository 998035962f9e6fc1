/**
 * Sandboxes that wait for a node. A single gateway keeps them in memory; several share them through Redis, and
 * whichever takes a ticket offers it to the nodes. A ticket is plain JSON.
 */
import type { SandboxRecord, SandboxSpec } from '../../protocol/node.ts';

export interface Ticket {
  spec: SandboxSpec;
  /** Higher goes first within a tenant. */
  priority: number;
  /** How many of this tenant's tickets go in one of its turns; 1 by default. */
  weight?: number;
}

export const weightOf = ({ weight = 1 }: Pick<Ticket, 'weight'>): number => Math.max(1, weight);

/**
 * placed: a node has it, or nobody wants it any more. later: no node has it; offer it again, before its tenant's
 * younger tickets. unclear: like later, but the named node may have it. lost: another gateway has the ticket by now.
 */
export type Outcome = 'placed' | 'later' | 'lost' | { unclear: string };

/** A permit to send one ticket to a node. Needed where another gateway could hold the same ticket. */
export interface Permit {
  /**
   * The node to which the ticket was sent before with an unknown outcome; null: none. The gateway that sent it may have
   * died, and the message may still be in flight.
   */
  readonly triedOn: string | null;
  /**
   * Asks whether the ticket may be sent to this node. lost: another gateway has the ticket. ended: the sandbox has been
   * deleted. gone: it no longer waits.
   * @throws ServiceError when Redis cannot be reached
   */
  claim(node: string): Promise<'granted' | 'lost' | 'ended' | 'gone'>;
  /** Whether the grant still holds. Ask in the same tick in which it is used. */
  holds(): boolean;
}

/** Facts about the create that a ticket is part of. While Redis is away, nothing of that create may be taken back. */
export interface CreateContext {
  /** It asked for more than one sandbox. */
  isBatch: boolean;
  /** Its key could not be looked up, so another gateway may have accepted it. */
  isUnchecked: boolean;
  /** It has a key, so a retry at another gateway may find what was refused here. */
  keyed: boolean;
  /** Whether a node may have any of its sandboxes by now. */
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
  /** Whether a node has reported that it has the sandbox, or had it until it ended. */
  isPlaced(id: string): boolean;
  /** Whether all nodes are connected, so that none can have a sandbox that is unknown here. */
  allConnected(): boolean;
  /** Another gateway reports a sandbox that waits, or that ended while it waited. */
  reported(record: SandboxRecord): void;
  /**
   * Another gateway refused the create: the sandbox ended with this record, unless this gateway has created it
   * meanwhile.
   */
  withdrawn(record: SandboxRecord): void;
}

export interface PlacementQueue {
  /** Must be called once, before anything else. */
  start(offer: Offer, hooks: QueueHooks): void;
  /**
   * Call before the tickets of one create are added. A gateway that does not know whether another has accepted the same
   * create must not take back anything it has sent to a node. So it sends either all of them or none.
   * @throws ServiceError `capacity_exhausted` when some would have to wait and cannot, or might have to be taken back
   */
  assertRoom(specs: readonly SandboxSpec[], context: CreateContext): void;
  /**
   * Call before anything is done for a create that may have been tried before.
   * @throws ServiceError `capacity_exhausted` while it is not known here whether one of these, which was taken back, has
   * ended for good: other gateways use its id again, or do not
   */
  assertSettled(specs: readonly SandboxSpec[]): void;
  /**
   * Offers the ticket at once if its tenant has nothing waiting. A returned promise resolves once the sandbox is
   * recorded, by a node or by the queue.
   * @param context if any sandbox of the create may be on a node and must stay there, the ticket is kept here rather
   * than refused
   * @throws ServiceError (synchronously or in the promise) when it would have to wait and cannot: `capacity_exhausted`,
   * or `quota_exceeded` when its tenant has used its share of the queue.
   */
  add(ticket: Ticket, context?: CreateContext): void | Promise<void>;
  /**
   * Another gateway reports that this ticket already waits. From now on this gateway keeps it too, since the other one
   * may be about to withdraw it, or may have died before it was written completely.
   * @param context as for `add`
   * @throws ServiceError as `add`
   */
  share(ticket: Ticket, context?: CreateContext): void | Promise<void>;
  /** A node has it, whichever gateway sent it there. */
  placed(id: string): void;
  /** Nobody wants it any more. */
  remove(id: string): void;
  /**
   * Another part of the same create was refused: removes this one, unless another gateway accepts the same create
   * first. Null: nothing was done, and its end must be recorded.
   * @returns resolves once this gateway knows whether that ended it, or after a while; see `assertSettled`
   */
  takeBack(id: string): Promise<void> | null;
  /**
   * It has waited as long as it may here. True: the caller may end it now. False: it ends once it is certain that it
   * does not wait at another gateway either.
   * @param ended its final record
   */
  overdue(ended: SandboxRecord): boolean;
  /**
   * It ended before any node had it, or was deleted while its node was away, for all gateways. A returned promise
   * resolves once the other gateways can know.
   */
  recordEnd(record: SandboxRecord): void | Promise<void>;
  /** There may be room now where there was none. */
  wake(): void;
  /** Number of tickets that go before it (0: it is next); null when it does not wait. */
  position(id: string): number | null;
  readonly depth: number;
  /** Whether everything that waits is known here. False: an unknown sandbox may be waiting. */
  readonly informed: boolean;
  /** Resolves once `informed`, after a while, or at once while Redis is away. Never rejects. */
  whenInformed(): Promise<void>;
  stop(): void | Promise<void>;
}
