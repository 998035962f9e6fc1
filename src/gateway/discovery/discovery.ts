/** The source of the list of nodes. */
import { hostPort } from '../../lib/host-port.ts';
import type { NodeAddress } from '../config.ts';
import type { Standing } from '../nodes/node.ts';

export interface DiscoveredNode extends NodeAddress {
  standing: Standing;
  /** Why its standing is not `in`; for logs. */
  reason: string | null;
}

/**
 * Takes the complete list of known nodes, never a difference: duplicates and delays then do no harm, and a missed
 * change is corrected by the next list.
 * @param complete false: there may be nodes that the source could not name yet, with sandboxes on them
 */
export type Publish = (nodes: readonly DiscoveredNode[], complete: boolean) => void;

export interface Discovery {
  /**
   * Publishes whenever something has changed, and possibly when nothing has. Publishes nothing before the first answer,
   * and keeps the last list while its source cannot be reached. Never throws.
   */
  start(publish: Publish): void;
  /** After this nothing is published. Idempotent. */
  stop(): Promise<void>;
}

/** The key of a node, here and in the registry. */
export const keyOf = (node: NodeAddress): string => node.id ?? node.url;

/** `ws://host:port`, for a host name or an address of either family. */
export const nodeUrl = (host: string, port: number): string => `ws://${hostPort(host, port)}`;
