/** Ends that a gateway only assumed, and that a node's report takes back. */
import type { Node } from '../nodes/node.ts';
import type { Entry } from './entry.ts';

/**
 * Whether it ended only because some gateway believed that no node has it, and this one has sent it to none: if a node
 * has it, another gateway brought it there.
 */
export function isBelief(entry: Entry): boolean {
  const { ended, accepted, renounced, sent, record } = entry;
  return ended && !accepted && !renounced && !sent && record.reason !== 'deleted';
}

/** Whether it ended only because its node was lost, and that very node now reports it. */
export function isGuess(entry: Entry, node: Node): boolean {
  const same = entry.node === node || entry.node?.name === node.name;
  return entry.record.reason === 'node_lost' && entry.accepted && !entry.renounced && same;
}
