/**
 * Chooses the node for a sandbox: the best of a random sample, so that several gateways do not all choose the same one.
 */

/** What placement needs to know of a node. `Node` implements it. */
export interface Candidate {
  /** Accepts sandboxes, if it has room. */
  readonly ready: boolean;
  /** Refused a sandbox a moment ago. */
  readonly full: boolean;
  /** Failed repeatedly; see health.ts. */
  readonly ejected: boolean;
  readonly report: {
    cpus: number;
    memoryMb: number;
    memoryFreeMb: number;
    diskMb?: number | undefined;
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
  diskMb?: number | null;
}

/** Nodes examined for one sandbox. */
const SAMPLE = 8;

export interface PickOptions<N> {
  exclude?: ReadonlySet<N> | undefined;
  random?: (() => number) | undefined;
}

/**
 * The chosen node, or null when none has room now. Examines only a sample, unless the whole sample is full. Ejected
 * nodes are avoided while there are others; if all are ejected, the sandboxes are the more likely cause.
 */
export function pick<N extends Candidate>(nodes: readonly N[], need: Need, options: PickOptions<N> = {}): N | null {
  const { exclude, random = Math.random } = options;
  const count = nodes.length;
  if (count === 0) return null;
  const best = new Best<N>(need);
  const start = Math.floor(random() * count);
  for (let i = 0; i < Math.min(count, SAMPLE); i++) {
    // With few nodes, examine all of them from a random start, so that equally good ones take turns.
    const node = nodes[count <= SAMPLE ? (start + i) % count : Math.floor(random() * count)];
    if (node === undefined || !hasRoom(node, need) || node.ejected || exclude?.has(node)) continue;
    best.consider(node);
  }
  return best.node ?? search(nodes, need, start, exclude);
}

/**
 * The first node with room from `start` on, for when the sample was full: among thousands of nodes perhaps one has
 * room. Remembers ejected nodes on the way, in case there are no others.
 */
function search<N extends Candidate>(
  nodes: readonly N[],
  need: Need,
  start: number,
  exclude: ReadonlySet<N> | undefined,
): N | null {
  const suspects = new Best<N>(need);
  let others = false;
  for (let i = 0; i < nodes.length; i++) {
    const node = nodes[(start + i) % nodes.length] as N;
    if (hasRoom(node, need) && !exclude?.has(node)) {
      if (!node.ejected) return node;
      if (suspects.considered < SAMPLE) suspects.consider(node);
    }
    others ||= node.ready && !node.ejected;
  }
  return others ? null : suspects.node;
}

/** Keeps the node with the highest score. */
class Best<N extends Candidate> {
  node: N | null = null;
  considered = 0;
  readonly #need: Need;
  #score = -Infinity;

  constructor(need: Need) {
    this.#need = need;
  }

  consider(node: N): void {
    this.considered += 1;
    const score = scoreOf(node, this.#need);
    if (score <= this.#score) return;
    this.#score = score;
    this.node = node;
  }
}

/**
 * Whether each of these fits on some node, and there are places for all of them. Whether their memory fits together is
 * left to the nodes, which refuse what is too much.
 */
export function haveRoom<N extends Candidate>(nodes: readonly N[], needs: readonly Need[]): boolean {
  if (!needs.every((need) => pick(nodes, need) !== null)) return false;
  if (needs.length <= 1) return true;
  let places = 0;
  for (const node of nodes) {
    if (node.ready && !node.full) places += Math.max(0, (node.report?.maxSandboxes ?? 0) - node.live);
    if (places >= needs.length) return true;
  }
  return false;
}

/** Whether an empty node of this size could take it. */
export function couldFit(node: Candidate, need: Need): boolean {
  const { report } = node;
  if (report === null || report.maxSandboxes <= 0) return false;
  if (need.cpus > report.cpus || need.memoryMb > report.memoryMb) return false;
  return (need.diskMb ?? 0) <= (report.diskMb ?? Infinity);
}

/**
 * CPUs and memory may be overcommitted; the node limits that by refusing. Cheap checks come first: in a full cluster a
 * search examines every node.
 */
function hasRoom(node: Candidate, need: Need): boolean {
  return node.live < (node.report?.maxSandboxes ?? 0) && couldFit(node, need) && node.ready && !node.full;
}

/** A warm container outweighs the image on disk, which outweighs how empty the node is. */
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
