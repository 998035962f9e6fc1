/** All nodes that this gateway knows. Reacts when one connects, disconnects or is lost. */
import { setRunningTimeout } from '../../lib/running-timeout.ts';
import { background } from '../../lib/background.ts';
import type { Logger } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { TOMBSTONE_KEPT_MS } from '../../protocol/limits.ts';
import { NODE_GENERATION, type NodeHello, type SandboxRecord } from '../../protocol/node.ts';
import type { NodeAddress } from '../config.ts';
import { NodeLink, type Dial, type Heartbeat } from './link.ts';
import { Node, type Standing } from './node.ts';

export interface NodeEvents {
  /** A node has connected and reported all of its sandboxes. */
  snapshot(node: Node, records: SandboxRecord[]): void;
  record(node: Node, record: SandboxRecord): void;
  forgotten(node: Node, ids: readonly string[]): void;
  /** The node and its sandboxes are considered gone. */
  lost(node: Node): void;
  /** There may be room now where there was none. */
  room(): void;
}

export interface RegistryOptions {
  addresses: readonly NodeAddress[];
  dial: (address: NodeAddress) => Dial;
  /** A node whose link is down this long is lost. Time during which this process was stalled does not count. */
  graceMs: number;
  /**
   * The same applies to a node that has not connected for this long since it was added. The default is the grace period
   * plus the time for which ended sandboxes are remembered: nobody who knew its sandboxes would still list them as
   * lost.
   */
  neverConnectedMs?: number;
  heartbeat?: Heartbeat | undefined;
  log: Logger;
}

export class NodeRegistry {
  /** Discovery has not listed all nodes yet. */
  discovering = false;
  readonly #options: RegistryOptions;
  readonly #nodes = new Map<string, Node>();
  readonly #graces = new Map<Node, () => void>();
  #events: NodeEvents | null = null;
  #list: readonly Node[] = [];
  #startedAt = 0;

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  get all(): readonly Node[] {
    return this.#list;
  }

  /**
   * Whether some node may have sandboxes that this gateway was never told of, at any time: it has not reported yet, or
   * cannot report now.
   * @param others other gateways create sandboxes too: a node that is lost here may have received more from them since
   */
  mayHaveMore(others: boolean): boolean {
    if (this.discovering) return true;
    return this.#list.some(({ state }) => state !== 'up' && (state !== 'lost' || others));
  }

  startedWithin(ms: number): boolean {
    return performance.now() - this.#startedAt <= ms;
  }

  /** Some node has not reported yet, and this gateway started less than `ms` ago. */
  learningWithin(ms: number): boolean {
    if (!this.startedWithin(ms)) return false;
    return this.discovering || this.#list.some((node) => node.state === 'connecting');
  }

  /** By the id of its address, or by its URL if it has no id. */
  get(key: string): Node | undefined {
    return this.#nodes.get(key);
  }

  byName(name: string): Node | undefined {
    return this.#list.find((node) => node.name === name);
  }

  start(events: NodeEvents): void {
    this.#events = events;
    this.#startedAt = performance.now();
    for (const address of this.#options.addresses) this.add(address);
  }

  /** Adds a discovered node. A known one is dialled at this address from now on. */
  add(address: NodeAddress): void {
    const key = address.id ?? address.url;
    const known = this.#nodes.get(key);
    if (known !== undefined) {
      known.moveTo(address.url);
      return;
    }
    const node = new Node(address.url, address.name);
    node.link = new NodeLink({
      dial: (signal) => node.dialled(this.#options.dial({ ...address, url: node.url }), signal),
      log: this.#options.log.child({ node: node.name }),
      heartbeat: this.#options.heartbeat,
      listener: {
        up: (hello, report, records) => {
          assertGeneration(hello);
          this.#meetNamesake(key, node, hello.node);
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
          else if (event.type === 'node' && node.takeReport(event.node)) this.#events?.room();
        },
        down: () => this.#away(node),
      },
    });
    this.#nodes.set(key, node);
    this.#list = [...this.#nodes.values()];
    const { graceMs, neverConnectedMs = graceMs + TOMBSTONE_KEPT_MS } = this.#options;
    this.#loseAfter(neverConnectedMs, node);
    node.link.start();
  }

  /** Sets what discovery says about a listed node. */
  setStanding(key: string, standing: Standing): void {
    const node = this.#nodes.get(key);
    if (node === undefined || node.standing === standing) return;
    node.standing = standing;
    if (node.ready) this.#events?.room();
  }

  /** Removes a node that discovery says is gone for good. */
  async remove(key: string): Promise<void> {
    const node = this.#nodes.get(key);
    if (node === undefined) return;
    this.#nodes.delete(key);
    this.#list = [...this.#nodes.values()];
    await node.link?.stop();
    this.#lose(node);
  }

  async stop(): Promise<void> {
    this.#events = null;
    await Promise.all(this.#list.map(async (node) => node.link?.stop()));
    for (const node of [...this.#graces.keys()]) this.#cancelGrace(node);
  }

  #away(node: Node): void {
    // A removed node gets no grace period.
    if (this.#events === null || !this.#list.includes(node)) return;
    node.setState('away');
    this.#loseAfter(this.#options.graceMs, node);
  }

  #loseAfter(ms: number, node: Node): void {
    this.#cancelGrace(node);
    this.#graces.set(
      node,
      setRunningTimeout(ms, () => this.#lose(node), this.#options.log),
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
    this.#graces.get(node)?.();
    this.#graces.delete(node);
  }

  /**
   * Two nodes of one name would be confused. If the other one is disconnected, this is the same node at a new address:
   * the entry with the sandboxes stays, and is dialled there.
   * @throws ServiceError that closes this link
   */
  #meetNamesake(key: string, node: Node, name: string): void {
    const other = this.#list.find((n) => n !== node && n.hello?.node === name);
    if (other === undefined) return;
    if (other.up) throw new ServiceError('protocol_error', `${other.url} and ${node.url} both call themselves ${name}`);
    for (const [formerKey, n] of [...this.#nodes]) if (n === other) this.#nodes.delete(formerKey);
    this.#nodes.set(key, other);
    this.#list = [...this.#nodes.values()];
    this.#cancelGrace(node);
    other.moveTo(node.url);
    other.standing = node.standing;
    background(node.link?.stop() ?? Promise.resolve(), 'let go of a second link', this.#options.log);
    throw new ServiceError('node_unavailable', `${name} has moved to ${node.url}`);
  }
}

/** Peers of one generation understand each other; see docs/protocol.md. @throws ServiceError that closes the link */
function assertGeneration({ generation, node }: NodeHello): void {
  if (generation === NODE_GENERATION) return;
  throw new ServiceError('protocol_error', `${node} speaks generation ${generation} of the protocol`);
}
