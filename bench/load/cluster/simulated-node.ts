/** A node as the gateway sees it, without an agent behind it: it accepts what it has room for, at once. */
import type { Json } from '../../../src/mux/index.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { pendingRecord, type NodeReport, type SandboxSpec } from '../../../src/protocol/node.ts';
import { Node } from '../../../src/gateway/nodes/node.ts';
import type { Random } from '../random/random.ts';

/** Machine types in a cluster that has grown over years. */
const SIZES = [
  { cpus: 16, memoryMb: 64 * 1024, share: 1 },
  { cpus: 32, memoryMb: 128 * 1024, share: 2 },
  { cpus: 64, memoryMb: 256 * 1024, share: 4 },
] as const;
/** Warm containers on each node when it reports. */
export const WARM = 8;
const IMAGES_AT_START = 8;

export class SimulatedNode extends Node {
  readonly maxSandboxes: number;
  readonly #size: (typeof SIZES)[number];
  readonly #images: Set<string>;
  /** Placed since its last report. */
  placed = 0;

  constructor(index: number, perShare: number, images: readonly string[], random: Random) {
    super(`ws://node-${index}`, `node-${index}`);
    this.#size = SIZES[random.below(SIZES.length)] as (typeof SIZES)[number];
    this.maxSandboxes = Math.round(perShare * this.#size.share);
    this.#images = new Set(
      Array.from({ length: IMAGES_AT_START }, () => images[random.below(images.length)] as string),
    );
    this.state = 'up';
    this.reportNow();
  }

  /** What an agent does once a second when something has changed: its pool is full again. */
  reportNow(): void {
    this.placed = 0;
    const { cpus, memoryMb } = this.#size;
    const report: NodeReport = {
      name: this.name,
      version: '0',
      runtime: 'oci',
      cpus,
      memoryMb,
      memoryFreeMb: memoryMb * (1 - 0.9 * Math.min(1, this.live / this.maxSandboxes)),
      maxSandboxes: this.maxSandboxes,
      sandboxes: this.live,
      draining: false,
      pools: [{ key: '*', warm: WARM, starting: 0, target: WARM }],
      images: [...this.#images],
      defaultImage: 'none',
    };
    this.takeReport(report);
  }

  override reserve(image: string): void {
    super.reserve(image);
    this.placed += 1;
    this.#images.add(image);
  }

  override call(request: Json): Promise<Json> {
    if (request['op'] === 'createMany') return Promise.resolve({ refused: [] });
    if (request['op'] !== 'create') return Promise.reject(new ServiceError('not_supported'));
    const spec = request['spec'] as SandboxSpec;
    return Promise.resolve({ ...pendingRecord(spec), status: 'PROVISIONING', timings: { placedMs: 0 } });
  }
}

/** Sandboxes per share of a cluster, so that `sandboxes` fill it to the given fraction. */
export function perShareFor(nodes: number, sandboxes: number, fill: number): number {
  const meanShare = SIZES.reduce((sum, { share }) => sum + share, 0) / SIZES.length;
  return Math.max(1, sandboxes / fill / nodes / meanShare);
}
