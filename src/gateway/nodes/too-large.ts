/** Explains that a sandbox is too large for every node. */
import type { Candidate, Need } from './placement.ts';

const LIMITS = ['cpus', 'memoryMb', 'diskMb'] as const;
type Size = Record<(typeof LIMITS)[number], number>;

export interface TooLarge {
  message: string;
  /** The most that any node has of what was asked for; without what has no limit. */
  details: Partial<Size>;
}

/** For a sandbox that none of the nodes could take, however empty. */
export function tooLarge(nodes: readonly Candidate[], need: Need): TooLarge {
  const sizes = nodes.flatMap(({ report }) => (report === null || report.maxSandboxes <= 0 ? [] : [report]));
  // A disk that a node does not report is not limited.
  const most = (what: keyof Size): number => Math.max(0, ...sizes.map((size) => size[what] ?? Infinity));
  const asked = LIMITS.filter((what) => (need[what] ?? 0) > 0);
  const over = asked.filter((what) => (need[what] ?? 0) > most(what));
  const each = over.map((what) => `${what} is ${need[what]}, and the most that a node has is ${most(what)}`);
  const why = each.length > 0 ? each.join('; ') : 'no single node has all that it asks for';
  return {
    message: `no node is large enough for this sandbox: ${sizes.length > 0 ? why : 'none takes any'}`,
    details: Object.fromEntries(asked.map((what) => [what, most(what)] as const).filter(([, n]) => Number.isFinite(n))),
  };
}
