/** The operator's view of the nodes. */
import * as z from 'zod';
import { ServiceError } from '../../protocol/errors.ts';
import type { PoolState } from '../../protocol/node.ts';
import type { Node } from './node.ts';
import type { NodeRegistry } from './registry.ts';

export const NodeView = z.object({
  name: z.string(),
  state: z.enum(['connecting', 'ready', 'cordoned', 'draining', 'away', 'lost']),
  runtime: z.string().nullable(),
  version: z.string().nullable(),
  cpus: z.number().nullable(),
  memoryMb: z.number().nullable(),
  memoryFreeMb: z.number().nullable(),
  sandboxes: z.int(),
  maxSandboxes: z.int().nullable(),
  drainDeadline: z
    .string()
    .nullable()
    .describe('When the remaining sandboxes of a draining node are ended; null: never'),
  ejectedMs: z.number().describe('How much longer it gets no new sandboxes because of failures'),
});
export type NodeView = z.infer<typeof NodeView>;

/** How long a starting gateway waits for nodes that are down before it counts as ready. */
export const SETTLE_MS = 5_000;

export class NodeService {
  readonly #registry: NodeRegistry;

  constructor(registry: NodeRegistry) {
    this.#registry = registry;
  }

  /** Whether a node is ready, and all others have connected or had enough time to. */
  get ready(): boolean {
    return !this.#registry.learningWithin(SETTLE_MS) && this.#registry.all.some((node) => node.ready);
  }

  list(): NodeView[] {
    return this.#registry.all.map(view);
  }

  pools(): (PoolState & { node: string })[] {
    return this.#registry.all.flatMap((node) =>
      (node.up ? (node.report?.pools ?? []) : []).map((pool) => ({ node: node.name, ...pool })),
    );
  }

  /**
   * Keeps new sandboxes away from a node, or allows them again. The node itself stores this and tells all gateways.
   * @throws ServiceError `not_found`, `node_unavailable`
   */
  async cordon(name: string, on: boolean): Promise<NodeView> {
    const node = this.#find(name);
    await node.call({ op: 'cordon', on });
    node.applyChange({ cordoned: on });
    return view(node);
  }

  /**
   * As `cordon`; sandboxes still alive after `deadlineMs` end with `node_drained`. Without a deadline they live on. A
   * repeated call replaces the deadline.
   * @throws ServiceError `not_found`, `node_unavailable`
   */
  async drain(name: string, on: boolean, deadlineMs?: number): Promise<NodeView> {
    const node = this.#find(name);
    const until = on && deadlineMs !== undefined ? { deadlineMs } : {};
    await node.call({ op: 'drain', on, ...until });
    const drainDeadlineMs = until.deadlineMs === undefined ? null : Date.now() + until.deadlineMs;
    node.applyChange({ draining: on, drainDeadlineMs });
    return view(node);
  }

  #find(name: string): Node {
    const node = this.#registry.byName(name);
    if (node === undefined) throw new ServiceError('not_found', 'there is no node of this name');
    return node;
  }
}

function view(node: Node): NodeView {
  const report = node.report;
  return {
    name: node.name,
    state: node.shownState,
    runtime: report?.runtime ?? null,
    version: report?.version ?? null,
    cpus: report?.cpus ?? null,
    memoryMb: report?.memoryMb ?? null,
    memoryFreeMb: report?.memoryFreeMb ?? null,
    sandboxes: node.live,
    maxSandboxes: report?.maxSandboxes ?? null,
    drainDeadline: report?.draining && report.drainDeadlineMs ? new Date(report.drainDeadlineMs).toISOString() : null,
    ejectedMs: Math.round(node.health.ejectedMs),
  };
}
