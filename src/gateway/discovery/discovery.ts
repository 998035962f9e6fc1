/** Who says which nodes there are. */
import type { NodeAddress } from '../config.ts';
import type { Standing } from '../nodes/node.ts';

export interface DiscoveredNode extends NodeAddress {
  standing: Standing;
  /** Why it does not stand `in`; for people. */
  reason: string | null;
}

/**
 * Takes all nodes that there are, never only what has changed: what comes twice, late or out of order then does no harm,
 * and a watch that has missed something is put right by the next answer.
 */
export type Publish = (nodes: readonly DiscoveredNode[]) => void;

export interface Discovery {
  /**
   * Publishes whenever something has changed, and possibly when nothing has. Before it knows anything it publishes
   * nothing, and what it knows stays true for it while whoever it asks cannot be reached. Never throws.
   */
  start(publish: Publish): void;
  /** After this nothing is published. Idempotent. */
  stop(): Promise<void>;
}

/** What a node is known by, here and in the registry. */
export const keyOf = (node: NodeAddress): string => node.id ?? node.url;

/** `ws://host:port`, for a host name or an address of either family. */
export const nodeUrl = (host: string, port: number): string =>
  `ws://${host.includes(':') ? `[${host}]` : host}:${port}`;
