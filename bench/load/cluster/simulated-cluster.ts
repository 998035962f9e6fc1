/** Many simulated nodes, and the images requested of them. */
import type { SandboxSpec } from '../../../src/protocol/node.ts';
import { newSandboxId } from '../../../src/protocol/ids.ts';
import type { Random } from '../random/random.ts';
import { perShareFor, SimulatedNode } from './simulated-node.ts';

export interface ClusterShape {
  nodes: number;
  sandboxes: number;
  /** How full these sandboxes make it, as a fraction. */
  fill: number;
  images: number;
}

const LIFETIME_MS = 3_600_000;
const MEMORY_MB = 512;

export class SimulatedCluster {
  readonly nodes: readonly SimulatedNode[];
  /** Sandboxes that it can hold in total. */
  readonly room: number;
  readonly #images: readonly string[];
  readonly #random: Random;

  constructor(shape: ClusterShape, random: Random) {
    this.#random = random;
    this.#images = Array.from({ length: shape.images }, (_, i) => `registry.local/task-${i}:1`);
    const perShare = perShareFor(shape.nodes, shape.sandboxes, shape.fill);
    this.nodes = Array.from({ length: shape.nodes }, (_, i) => new SimulatedNode(i, perShare, this.#images, random));
    this.room = this.nodes.reduce((sum, node) => sum + node.maxSandboxes, 0);
  }

  /** A few images are requested often, most rarely: the square of a uniform choice. */
  nextSpec(): SandboxSpec {
    const image = this.#images[Math.floor(this.#random.next() ** 2 * this.#images.length)] as string;
    const now = Date.now();
    return {
      id: newSandboxId(),
      tenant: 'bench',
      name: null,
      image,
      cpus: 1,
      memoryMb: MEMORY_MB,
      diskMb: null,
      pidsLimit: 512,
      network: 'off',
      env: {},
      secrets: {},
      labels: {},
      startCommand: null,
      createdAtMs: now,
      expiresAtMs: now + LIFETIME_MS,
      idleTimeoutMs: null,
    };
  }

  /** A second passes: nodes with changes report them. */
  tick(): void {
    for (const node of this.nodes) if (node.placed > 0) node.reportNow();
  }

  /** How full the nodes are, as fractions. */
  fill(): { mean: number; deviation: number; fullest: number } {
    const fills = this.nodes.map((node) => node.live / node.maxSandboxes);
    const mean = fills.reduce((sum, fill) => sum + fill, 0) / fills.length;
    const deviation = Math.sqrt(fills.reduce((sum, fill) => sum + (fill - mean) ** 2, 0) / fills.length);
    return { mean, deviation, fullest: Math.max(...fills) };
  }
}
