/** Codes with which a stream ends that may be continued: what it carried may still be under way. */

/** The link or the node is gone. */
export const LOST: ReadonlySet<string> = new Set(['interrupted', 'node_unavailable']);

/** The same, or whoever stood in between goes away and takes nothing new: the next try takes another way. */
export const CUTS: ReadonlySet<string> = new Set([...LOST, 'draining']);
