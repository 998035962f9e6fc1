/**
 * Applies what discovery finds to the registry: nodes are added, cordoned, and removed once their sandboxes have ended.
 */
import { background } from '../../lib/background.ts';
import type { Logger } from '../../lib/logger.ts';
import type { NodeRegistry } from '../nodes/registry.ts';
import { keyOf, type DiscoveredNode, type Discovery } from './discovery.ts';

export interface RegistrySyncOptions {
  discovery: Discovery;
  registry: Pick<NodeRegistry, 'add' | 'get' | 'remove' | 'setStanding' | 'discovering'>;
  /** How long sandboxes may live on on a node that is no longer listed. */
  leaveMs: number;
  /** How long an empty list is ignored. */
  emptyMs: number;
  log: Logger;
  now?: () => number;
}

/** How often leaving nodes are checked. */
const CHECK_MS = 1_000;

export class RegistrySync {
  readonly #options: RegistrySyncOptions;
  readonly #now: () => number;
  readonly #named = new Map<string, DiscoveredNode>();
  /** Nodes that are no longer listed: until when their sandboxes may live on. */
  readonly #leaving = new Map<string, number>();
  #checking: NodeJS.Timeout | undefined;
  /** Runs while an empty list is ignored. */
  #doubting: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: RegistrySyncOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  start(): void {
    const { discovery, registry, log } = this.#options;
    registry.discovering = true;
    discovery.start((nodes, complete) => {
      try {
        if (!this.#stopped) this.#receive(nodes, complete);
      } catch (error) {
        log.error({ err: error }, 'a discovery update could not be applied');
      }
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#checking);
    clearTimeout(this.#doubting);
    await this.#options.discovery.stop();
  }

  #receive(nodes: readonly DiscoveredNode[], complete: boolean): void {
    const { emptyMs, log } = this.#options;
    if (nodes.length > 0 || this.#named.size === 0) {
      clearTimeout(this.#doubting);
      this.#doubting = undefined;
      this.#apply(nodes);
      // Once the list is complete, nodes that come later are new.
      if (complete) this.#options.registry.discovering = false;
      return;
    }
    if (this.#doubting !== undefined) return;
    log.warn({ nodes: this.#named.size, emptyMs }, 'discovery lists no nodes at all: ignored for now');
    this.#doubting = setTimeout(() => {
      this.#doubting = undefined;
      this.#apply([]);
    }, emptyMs);
  }

  #apply(nodes: readonly DiscoveredNode[]): void {
    const { registry } = this.#options;
    const present = new Map(nodes.map((node) => [keyOf(node), node]));
    for (const [key, node] of present) {
      this.#leaving.delete(key);
      registry.add(node);
      registry.setStanding(key, node.standing);
      this.#logChange(node, this.#named.get(key));
      this.#named.set(key, node);
    }
    for (const [key, node] of [...this.#named]) if (!present.has(key)) this.#leave(key, node);
    this.#checkLeaving();
  }

  #leave(key: string, node: DiscoveredNode): void {
    const { registry, leaveMs, log } = this.#options;
    this.#named.delete(key);
    registry.setStanding(key, 'leaving');
    this.#leaving.set(key, this.#now() + leaveMs);
    log.info({ node: node.name ?? node.url, sandboxes: registry.get(key)?.live ?? 0 }, 'node is no longer listed');
  }

  /** Removes leaving nodes that are empty or whose time is up. */
  #checkLeaving(): void {
    const { registry, log } = this.#options;
    for (const [key, until] of [...this.#leaving]) {
      const node = registry.get(key);
      const late = this.#now() >= until;
      if (node !== undefined && node.live > 0 && node.state !== 'lost' && !late) continue;
      this.#leaving.delete(key);
      if (node === undefined) continue;
      if (node.live > 0 && late)
        log.warn(
          { node: node.name, sandboxes: node.live },
          'MILLIBOX_DISCOVERY_LEAVE_MS has passed: a node that is no longer listed is dropped',
        );
      background(registry.remove(key), 'let go of a node', log);
    }
    if (this.#leaving.size === 0) {
      clearInterval(this.#checking);
      this.#checking = undefined;
    } else {
      this.#checking ??= setInterval(() => this.#checkLeaving(), CHECK_MS);
    }
  }

  #logChange(node: DiscoveredNode, before: DiscoveredNode | undefined): void {
    const { log } = this.#options;
    const fields = { node: node.name ?? node.url, url: node.url, standing: node.standing, reason: node.reason };
    if (before === undefined) log.info(fields, 'node discovered');
    else if (before.url !== node.url) log.info(fields, 'node has a new address');
    else if (before.standing !== node.standing) log.info(fields, 'node standing changed');
  }
}
