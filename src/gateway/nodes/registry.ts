/** All nodes that this gateway knows, and what happens when one comes, goes or is lost. */
import type { Logger } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { SandboxRecord } from '../../protocol/node.ts';
import type { NodeAddress } from '../config.ts';
import { NodeLink, type Dial } from './link.ts';
import { Node } from './node.ts';

export interface NodeEvents {
  /** A node is back with all that it has. */
  snapshot(node: Node, records: SandboxRecord[]): void;
  record(node: Node, record: SandboxRecord): void;
  forgotten(node: Node, ids: readonly string[]): void;
  /** Its sandboxes are gone, as far as anybody can know. */
  lost(node: Node): void;
  /** There may be room where there was none. */
  room(): void;
}

export interface RegistryOptions {
  addresses: readonly NodeAddress[];
  dial: (address: NodeAddress) => Dial;
  graceMs: number;
  log: Logger;
}

export class NodeRegistry {
  readonly #options: RegistryOptions;
  readonly #nodes = new Map<string, Node>();
  readonly #graces = new Map<Node, NodeJS.Timeout>();
  #events: NodeEvents | null = null;
  #list: readonly Node[] = [];
  #startedAt = 0;

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  get all(): readonly Node[] {
    return this.#list;
  }

  /** Not all nodes have said yet what they have, and there is still hope that they will. */
  get learning(): boolean {
    return this.learningWithin(this.#options.graceMs);
  }

  /** As `learning`, with hope for so long after the start. */
  learningWithin(ms: number): boolean {
    if (performance.now() - this.#startedAt > ms) return false;
    return this.#list.some((node) => node.state === 'connecting');
  }

  byName(name: string): Node | undefined {
    return this.#list.find((node) => node.name === name);
  }

  start(events: NodeEvents): void {
    this.#events = events;
    this.#startedAt = performance.now();
    for (const address of this.#options.addresses) this.add(address);
  }

  /** A node that was discovered. Known already: nothing happens. */
  add(address: NodeAddress): void {
    if (this.#nodes.has(address.url)) return;
    const node = new Node(address.url, address.name);
    node.link = new NodeLink({
      dial: this.#options.dial(address),
      log: this.#options.log.child({ node: node.name }),
      listener: {
        up: (hello, report, records) => {
          this.#refuseNamesake(node, hello.node);
          this.#cancelGrace(node);
          node.hello = hello;
          node.takeReport(report);
          node.setState('up');
          this.#events?.snapshot(node, records);
          this.#events?.room();
        },
        change: (event) => {
          if (event.type === 'sandbox') this.#events?.record(node, event.sandbox);
          else if (event.type === 'forgotten') this.#events?.forgotten(node, event.ids);
          else {
            node.takeReport(event.node);
            this.#events?.room();
          }
        },
        down: () => this.#away(node),
      },
    });
    this.#nodes.set(address.url, node);
    this.#list = [...this.#nodes.values()];
    node.link.start();
  }

  /** A node that is gone for good, by the word of whoever discovered it. */
  async remove(url: string): Promise<void> {
    const node = this.#nodes.get(url);
    if (node === undefined) return;
    this.#nodes.delete(url);
    this.#list = [...this.#nodes.values()];
    await node.link?.stop();
    this.#lose(node);
  }

  async stop(): Promise<void> {
    this.#events = null;
    await Promise.all(this.#list.map(async (node) => node.link?.stop()));
    for (const timer of this.#graces.values()) clearTimeout(timer);
    this.#graces.clear();
  }

  #away(node: Node): void {
    if (this.#events === null) return;
    node.setState('away');
    this.#cancelGrace(node);
    this.#graces.set(
      node,
      setTimeout(() => this.#lose(node), this.#options.graceMs),
    );
  }

  #lose(node: Node): void {
    this.#cancelGrace(node);
    if (node.state === 'lost') return;
    node.setState('lost');
    this.#options.log.warn({ node: node.name }, 'node lost');
    this.#events?.lost(node);
  }

  #cancelGrace(node: Node): void {
    clearTimeout(this.#graces.get(node));
    this.#graces.delete(node);
  }

  /** Two nodes under one name would be taken for each other. */
  #refuseNamesake(node: Node, name: string): void {
    const other = this.#list.find((n) => n !== node && n.up && n.hello?.node === name);
    if (other !== undefined) {
      throw new ServiceError('protocol_error', `${other.url} and ${node.url} both call themselves ${name}`);
    }
  }
}
