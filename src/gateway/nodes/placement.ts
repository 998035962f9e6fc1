/** Which node gets a sandbox: the best of a few taken at random, so that many gateways do not all choose the same. */

/** What placement looks at. `Node` fits. */
export interface Candidate {
  /** Takes sandboxes, if it has room. */
  readonly ready: boolean;
  /** Turned one down a moment ago. */
  readonly full: boolean;
  /** Has failed again and again. */
  readonly ejected: boolean;
  readonly report: {
    cpus: number;
    memoryMb: number;
    memoryFreeMb: number;
    maxSandboxes: number;
  } | null;
  readonly live: number;
  readonly liveCpus: number;
  warmFor(image: string): number;
  hasImage(image: string): boolean;
}

export interface Need {
  image: string;
  cpus: number;
  memoryMb: number;
}

/** Nodes looked at for one sandbox. */
const SAMPLE = 8;

export interface PickOptions<N> {
  exclude?: ReadonlySet<N> | undefined;
  random?: (() => number) | undefined;
}

/**
 * The node, or null when none has room now. Cost is that of a sample, unless the whole sample is full. Ejected nodes are
 * left alone while there is any other: where all have failed, more likely it is what they were given.
 */
export function pick<N extends Candidate>(nodes: readonly N[], need: Need, options: PickOptions<N> = {}): N | null {
  const found = pickAmong(nodes, need, options, (node) => !node.ejected);
  if (found !== null || nodes.some((node) => node.ready && !node.ejected)) return found;
  return pickAmong(nodes, need, options, (node) => node.ejected);
}

function pickAmong<N extends Candidate>(
  nodes: readonly N[],
  need: Need,
  options: PickOptions<N>,
  allowed: (node: N) => boolean,
): N | null {
  const random = options.random ?? Math.random;
  const count = nodes.length;
  if (count === 0) return null;
  const start = Math.floor(random() * count);
  const best = { node: null as N | null, score: -Infinity };
  const look = (node: N | undefined): void => {
    if (node === undefined || !allowed(node) || options.exclude?.has(node) || !hasRoom(node, need)) return;
    const score = scoreOf(node, need);
    if (score > best.score) Object.assign(best, { node, score });
  };
  if (count <= SAMPLE) {
    // From a random start, so that equals take turns.
    for (let i = 0; i < count; i++) look(nodes[(start + i) % count]);
    return best.node;
  }
  for (let i = 0; i < SAMPLE; i++) look(nodes[Math.floor(random() * count)]);
  for (let i = 0; i < count && best.node === null; i++) look(nodes[(start + i) % count]);
  return best.node;
}

/** Whether a node of this size could ever take it. */
export function couldFit(node: Candidate, need: Need): boolean {
  const { report } = node;
  return report !== null && need.cpus <= report.cpus && need.memoryMb <= report.memoryMb && report.maxSandboxes > 0;
}

/** Cpus and memory may be promised more than once over; how far is for the node to say, by refusing. */
function hasRoom(node: Candidate, need: Need): boolean {
  return node.ready && !node.full && couldFit(node, need) && node.live < (node.report?.maxSandboxes ?? 0);
}

/** A waiting container outweighs the image on disk, which outweighs how empty the node is. */
function scoreOf(node: Candidate, need: Need): number {
  const report = node.report;
  if (report === null) return -Infinity;
  const free =
    (report.memoryFreeMb / Math.max(1, report.memoryMb) +
      (1 - node.live / Math.max(1, report.maxSandboxes)) +
      (1 - Math.min(1, node.liveCpus / Math.max(1, report.cpus * 8)))) /
    3;
  const warm = node.warmFor(need.image);
  return (warm > 0 ? 4 + Math.min(1, warm / 16) : 0) + (node.hasImage(need.image) ? 2 : 0) + free;
}
