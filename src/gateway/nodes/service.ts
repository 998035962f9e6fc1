/** The operator's view of the nodes. */
import { ServiceError } from '../../protocol/errors.ts';
import type { PoolState } from '../../protocol/node.ts';
import type { Node, NodeState } from './node.ts';
import type { NodeRegistry } from './registry.ts';

export interface NodeView {
  name: string;
  state: NodeState;
  runtime: string | null;
  version: string | null;
  cpus: number | null;
  memoryMb: number | null;
  memoryFreeMb: number | null;
  sandboxes: number;
  maxSandboxes: number | null;
  /** When the sandboxes that are left on a draining node are ended. Null: never, or it does not drain. */
  drainDeadline: string | null;
  /** Kept from new sandboxes for so long because of failures; 0 otherwise. */
  ejectedMs: number;
}

/** A node that is down does not keep a gateway from starting. */
const SETTLE_MS = 5_000;

export class NodeService {
  readonly #registry: NodeRegistry;

  constructor(registry: NodeRegistry) {
    this.#registry = registry;
  }

  /** Whether some are ready, and all have been heard or have had time enough. */
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
   * Keeps new sandboxes away, or lets them come again. The node itself remembers it and tells all gateways.
   * @throws ServiceError `not_found`, `node_unavailable`
   */
  async cordon(name: string, on: boolean): Promise<NodeView> {
    const node = this.#find(name);
    await node.call({ op: 'cordon', on });
    node.told({ cordoned: on });
    return view(node);
  }

  /**
   * As `cordon`; and what still lives there after `deadlineMs` is ended with `node_drained`. Without a deadline it
   * lives as long as it would. Again with another deadline: that one counts.
   * @throws ServiceError `not_found`, `node_unavailable`
   */
  async drain(name: string, on: boolean, deadlineMs?: number): Promise<NodeView> {
    const node = this.#find(name);
    const until = on && deadlineMs !== undefined ? { deadlineMs } : {};
    await node.call({ op: 'drain', on, ...until });
    node.told({ draining: on, drainDeadlineMs: until.deadlineMs === undefined ? null : Date.now() + until.deadlineMs });
    return view(node);
  }

  #find(name: string): Node {
    const node = this.#registry.byName(name);
    if (node === undefined) throw new ServiceError('not_found', 'There is no node of this name.');
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
