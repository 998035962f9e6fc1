/** Discovers nodes as the agents' pods of a Kubernetes cluster, and cordons them with their Kubernetes Nodes. */
import type { Logger } from '../../../lib/logger.ts';
import type { Family, KubernetesConfig } from '../config.ts';
import type { Discovery, Publish } from '../discovery.ts';
import { openSession, type OpenSession } from './client.ts';
import { ListWatch, type Timings } from './list-watch.ts';
import { awaitsSome, nodesOf } from './nodes-of.ts';
import { readNode, readPod, type AgentPod, type KubeNode } from './objects.ts';

export interface KubernetesOptions extends KubernetesConfig {
  family: Family;
  log: Logger;
  open?: OpenSession;
  timings?: Partial<Timings>;
}

/** Events within this time are handled together. */
const GATHER_MS = 50;
/** How long known pods wait for the first list of Nodes, so that a cordoned one gets no sandbox. */
const NODES_PATIENCE_MS = 10_000;
/**
 * How long after the start pods that have yet to run are awaited: longer than an image pull, shorter than an outage.
 */
const PODS_PATIENCE_MS = 600_000;

export class KubernetesDiscovery implements Discovery {
  readonly #options: KubernetesOptions;
  readonly #pods: ListWatch<AgentPod>;
  readonly #nodes: ListWatch<KubeNode> | null;
  #publish: Publish | null = null;
  #gathering: NodeJS.Timeout | undefined;
  #patience: NodeJS.Timeout | undefined;
  #patient = true;
  /** Runs while pods that have yet to run are awaited. */
  #awaiting: NodeJS.Timeout | undefined;

  constructor(options: KubernetesOptions) {
    this.#options = options;
    const { namespace, selector, followNodes, configFile, log } = options;
    const shared = {
      open: options.open ?? (() => openSession(configFile)),
      changed: () => this.#changed(),
      log,
      timings: options.timings ?? {},
    };
    this.#pods = new ListWatch({
      ...shared,
      what: 'pods',
      path: (session) => `/api/v1/namespaces/${encodeURIComponent(namespace ?? session.namespace)}/pods`,
      query: { labelSelector: selector },
      read: readPod,
      optional: false,
    });
    this.#nodes = followNodes
      ? new ListWatch({
          ...shared,
          what: 'nodes',
          path: () => '/api/v1/nodes',
          query: {},
          read: readNode,
          optional: true,
        })
      : null;
  }

  start(publish: Publish): void {
    this.#publish = publish;
    this.#awaiting = setTimeout(() => {
      this.#awaiting = undefined;
      this.#publishNow();
    }, PODS_PATIENCE_MS);
    this.#pods.start();
    this.#nodes?.start();
  }

  async stop(): Promise<void> {
    this.#publish = null;
    clearTimeout(this.#gathering);
    clearTimeout(this.#patience);
    clearTimeout(this.#awaiting);
    await Promise.all([this.#pods.stop(), this.#nodes?.stop()]);
  }

  #changed(): void {
    if (this.#publish === null) return;
    this.#gathering ??= setTimeout(() => {
      this.#gathering = undefined;
      this.#publishNow();
    }, GATHER_MS);
  }

  #publishNow(): void {
    const { port, family, ignoreTaints } = this.#options;
    if (this.#pods.state !== 'synced') return;
    if (this.#nodes?.state === 'unknown' && this.#patient) {
      this.#patience ??= setTimeout(() => {
        this.#patient = false;
        this.#publishNow();
      }, NODES_PATIENCE_MS);
      return;
    }
    const nodes = this.#nodes?.state === 'synced' ? this.#nodes.objects : null;
    const pods = this.#pods.objects;
    const complete = this.#awaiting === undefined || !awaitsSome(pods);
    this.#publish?.(nodesOf(pods, nodes, { port, family, ignoreTaints }), complete);
  }
}
