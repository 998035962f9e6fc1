/**
 * The network of sandboxes with `internet`: one bridge per agent, created at the first such claim, and a veth pair from
 * it into each sandbox.
 */
import { readFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import type { Logger } from '../../../../src/lib/logger.ts';
import { ServiceError } from '../../../../src/protocol/errors.ts';
import { Addresses } from './addresses.ts';
import { readVeth, writeVeth, type Veth } from './veth-record.ts';
import { VethRemoval } from './veth-removal.ts';
import { RulesGuard } from './rules-guard.ts';
import { Ip } from './ip.ts';
import { parseRange, rangeFor, type Range } from './ranges.ts';
import { findResolvers } from './resolvers.ts';
import { ruleset, shareRules } from './rules.ts';
import { IPTABLES, runInNetworkOf } from './tools.ts';

const FORWARDING = '/proc/sys/net/ipv4/ip_forward';
/** A bridge has 1,023 ports. */
const MAX_VETHS = 1_000;
/** Time within which removed rules are restored. */
const LOOK_EVERY_MS = 10_000;
/** How long the kernel may take to remove an ended sandbox's namespace, and with it the veth pair. */
const VETH_REMOVAL_MS = 2_000;

/** The veth end in a sandbox, and its configuration there. */
interface Card {
  name: string;
  address: string;
  prefix: number;
  gateway: string;
}

interface NetworkOptions {
  /** Distinguishes this agent's names from those of others. */
  tag: string;
  /** Name servers; default: the node's. */
  resolvers?: readonly string[] | undefined;
  /** `10.9.0.0/16`; default: a range that no route of this machine covers. */
  subnet?: string | undefined;
  /**
   * The bridge and the rules are in this process's network namespace. Default: the agent's own. An agent in a container
   * needs one that outlives it.
   */
  uplinkPid?: number | undefined;
  /** Overridden in tests. */
  lookEveryMs?: number;
  maxVeths?: number;
  log: Logger;
}

export class Network {
  readonly #bridge: string;
  readonly #table: string;
  readonly #range: Range;
  readonly #addresses: Addresses;
  readonly #resolvers: readonly string[];
  readonly #log: Logger;
  readonly #veths = new Map<string, Veth>();
  /** Directories of an earlier agent's sandboxes whose veth record cannot be read. */
  readonly #unreadable = new Map<string, string>();
  readonly #maxVeths: number;
  /** Veth pairs still being created. */
  #laying = 0;
  readonly #uplinkPid: number | undefined;
  readonly #ip: Ip;
  readonly #guard: RulesGuard;
  readonly #vethRemoval: VethRemoval;
  #ready: Promise<void> | undefined;

  /** @throws ServiceError `invalid_request` if `subnet` is not a network. */
  constructor({
    tag,
    resolvers,
    subnet,
    uplinkPid,
    lookEveryMs = LOOK_EVERY_MS,
    maxVeths = MAX_VETHS,
    log,
  }: NetworkOptions) {
    this.#uplinkPid = uplinkPid;
    this.#maxVeths = maxVeths;
    this.#bridge = `mbx-${tag.slice(0, 8)}`;
    this.#table = `millibox_${tag.slice(0, 8)}`;
    const routes = this.#read('route');
    this.#range = subnet === undefined ? rangeFor(tag, this.#bridge, routes) : parseRange(subnet);
    this.#addresses = new Addresses(this.#range);
    this.#resolvers = resolvers ?? findResolvers();
    this.#log = log;
    this.#ip = new Ip(uplinkPid);
    this.#guard = new RulesGuard({
      table: this.#table,
      bridge: this.#bridge,
      texts: ['jump out', 'ct state invalid drop', 'masquerade'],
      uplinkPid,
      everyMs: lookEveryMs,
      rebuild: () => this.#build(),
      letThrough: () => this.#letThrough('-I'),
      log,
    });
    this.#vethRemoval = new VethRemoval({
      devices: () => this.#read('dev'),
      remove: (device) => this.#ip.run([`link delete ${device}`]),
      patienceMs: VETH_REMOVAL_MS,
    });
  }

  get resolvers(): readonly string[] {
    return this.#resolvers;
  }

  /** Restores the veth pair of an earlier agent's sandbox, if it has one. */
  adopt(id: string, dir: string): void {
    try {
      const veth = readVeth(dir);
      this.#unreadable.delete(id);
      if (veth === undefined) return;
      this.#veths.set(id, veth);
      this.#addresses.adopt(veth.address);
    } catch (error) {
      if (!this.#unreadable.has(id))
        this.#log.error(
          { err: error, container: id },
          'the address of a sandbox cannot be read: no address is assigned until it can',
        );
      this.#unreadable.set(id, dir);
    }
    this.#guard.start();
  }

  /**
   * Creates a veth pair into this process's network namespace. The end there has no address yet.
   * @throws ServiceError `capacity_exhausted` if the bridge is full, or if a sandbox with an unreadable record may have
   * an address; `internal` if the machine lacks support.
   */
  async connect(id: string, dir: string, pid: number): Promise<Card> {
    for (const [unread, its] of this.#unreadable) this.adopt(unread, its);
    if (this.#unreadable.size > 0) {
      throw new ServiceError('capacity_exhausted', 'the addresses in use on this node cannot be determined');
    }
    if (this.#veths.size >= this.#maxVeths) {
      throw new ServiceError('capacity_exhausted', `this node already has ${this.#maxVeths} sandboxes with a network`);
    }
    const address = this.#addresses.take();
    const device = this.#deviceOf(id);
    // Before any await: concurrent calls may arrive meanwhile.
    this.#veths.set(id, { address, device });
    this.#laying += 1;
    try {
      await this.#beReady();
    } catch (error) {
      this.#veths.delete(id);
      this.#addresses.giveBack(address);
      throw error;
    } finally {
      this.#laying -= 1;
    }
    this.#guard.start();
    await writeVeth(dir, { address, device });
    const card: Card = { name: 'eth0', address, prefix: this.#range.prefix, gateway: this.#range.gateway };
    await this.#ip.run([
      `link add ${device} type veth peer name ${card.name} address ${macOf(address)} netns ${pid}`,
      `link set ${device} addrgenmode none master ${this.#bridge} up`,
      // Isolated bridge ports cannot reach each other.
      `link set ${device} type bridge_slave isolated on`,
    ]);
    return card;
  }

  /**
   * Configures the sandbox's end from outside, for a boxinit that cannot do it.
   * @throws ServiceError `internal`, `deadline_exceeded`.
   */
  async setUp({ name, address, prefix, gateway }: Card, pid: number): Promise<void> {
    const commands = [
      `link set ${name} addrgenmode none`,
      `addr add ${address}/${prefix} dev ${name}`,
      `link set ${name} up`,
      `route add default via ${gateway}`,
    ];
    await runInNetworkOf(pid, ['ip', '-batch', '-'], `${commands.join('\n')}\n`);
  }

  /** Resolves once the sandbox's veth pair is gone, if it had one. Its processes must have ended. */
  async disconnect(id: string): Promise<void> {
    const veth = this.#veths.get(id);
    if (veth === undefined && !this.#unreadable.has(id)) return;
    await this.#vethRemoval.whenGone(veth?.device ?? this.#deviceOf(id));
    this.#unreadable.delete(id);
    if (veth === undefined) return;
    this.#veths.delete(id);
    this.#addresses.giveBack(veth.address);
  }

  /** Removes the bridge and the rules unless sandboxes use them. */
  async close(): Promise<void> {
    await this.#guard.close();
    if (this.#veths.size + this.#unreadable.size === 0 && this.#exists()) {
      await this.#ip.run([`link delete ${this.#bridge}`]).catch(() => undefined);
      await this.#tool(['nft', '-f', '-'], `delete table inet ${this.#table}\n`).catch(() => undefined);
      await this.#letThrough('-D').catch(() => undefined);
    }
    this.#ip.close();
  }

  async #beReady(): Promise<void> {
    // Between two checks of the guard, only sandboxes with a veth pair can have missed the rules.
    const made = this.#ready !== undefined;
    this.#ready ??= this.#build();
    try {
      await this.#ready;
    } catch (error) {
      this.#ready = undefined;
      throw error;
    }
    if (made && this.#veths.size === this.#laying) await this.#guard.check();
  }

  #deviceOf(id: string): string {
    return `mb${createHash('sha256').update(`${this.#bridge}${id}`).digest('hex').slice(0, 12)}`;
  }

  #exists(): boolean {
    return this.#read('dev').includes(`${this.#bridge}:`);
  }

  /** Reads the uplink namespace's /proc/net; /sys may show another namespace. */
  #read(file: 'route' | 'dev'): string {
    return readFileSync(`/proc/${this.#uplinkPid ?? 'self'}/net/${file}`, 'utf8');
  }

  async #build(): Promise<void> {
    // Written by a program inside the namespace: the file shows the opener's setting.
    await this.#tool(['sh', '-c', `grep -qx 1 ${FORWARDING} || echo 1 >${FORWARDING}`]);
    // A fixed MAC address: otherwise the bridge takes that of one of its ports, which changes as ports come and go,
    // while sandboxes keep using the previous one.
    const mac = macOf(this.#range.gateway);
    if (!this.#exists()) await this.#ip.run([`link add ${this.#bridge} address ${mac} type bridge`]);
    await this.#ip.run([
      `link set ${this.#bridge} addrgenmode none`,
      `addr replace ${this.#range.gateway}/${this.#range.prefix} dev ${this.#bridge}`,
      `link set ${this.#bridge} up`,
    ]);
    await this.#tool(
      ['nft', '-f', '-'],
      ruleset({ table: this.#table, bridge: this.#bridge, range: this.#range, resolvers: this.#resolvers }),
    );
    await this.#tool(['nft', '-f', '-'], shareRules({ table: this.#table })).catch((error: unknown) => {
      this.#log.warn({ err: error }, 'the kernel cannot limit connections: one sandbox may use up all of the node');
    });
    await this.#letThrough('-I');
    this.#log.info({ bridge: this.#bridge, subnet: this.#range.subnet }, 'the sandbox network is up');
  }

  /** Docker drops forwarded traffic that is not its own, unless this chain accepts it. */
  async #letThrough(what: '-I' | '-D'): Promise<void> {
    // Without Docker the chain does not exist and is not needed.
    const script = `
      for each in $(${IPTABLES}); do
        for side in -i -o; do
          there=-D; $each -w -C DOCKER-USER $side "$0" -j ACCEPT || there=-I
          [ $there = "$1" ] && $each -w $1 DOCKER-USER $side "$0" -j ACCEPT
        done
      done; true`;
    await this.#tool(['sh', '-c', script, this.#bridge, what]);
  }

  async #tool(command: readonly [tool: string, ...args: string[]], input = ''): Promise<void> {
    await runInNetworkOf(this.#uplinkPid, command, input);
  }
}

/** A MAC address per IP address, so that neighbour entries stay valid when an address is reused. */
function macOf(address: string): string {
  const bytes = address.split('.').map((byte) => Number(byte).toString(16).padStart(2, '0'));
  return ['02', '6d', ...bytes].join(':');
}
