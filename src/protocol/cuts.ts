/** Codes with which a stream ends that may be resumed: what it carried may still be in progress. */

/** The link or the node is gone. */
export const LOST: ReadonlySet<string> = new Set(['interrupted', 'node_unavailable']);

/** The same, or an intermediary is shutting down and takes no new streams: the next attempt takes another route. */
export const CUTS: ReadonlySet<string> = new Set([...LOST, 'draining']);
