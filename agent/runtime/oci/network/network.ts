/**
 * The network of sandboxes that may reach the Internet: one bridge of the agent's own, made when the first of them is
 * claimed, and a cable from it into each. A sandbox without a network has nothing to do with any of this.
 */
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import * as z from 'zod';
import type { Logger } from '../../../../src/lib/logger.ts';
import { ServiceError } from '../../../../src/protocol/errors.ts';
import { Addresses } from './addresses.ts';
import { VethRemoval } from './veth-removal.ts';
import { Guard } from './guard.ts';
import { Ip } from './ip.ts';
import { parseRange, rangeFor, type Range } from './ranges.ts';
import { findResolvers } from './resolvers.ts';
import { ruleset, shareRules } from './rules.ts';
import { IPTABLES, runInNetworkOf } from './tools.ts';

const FORWARDING = '/proc/sys/net/ipv4/ip_forward';
/** A bridge has room for 1,023 cables. */
const MAX_CABLES = 1_000;
/** How soon rules that somebody took away are back. */
const LOOK_EVERY_MS = 10_000;
/** For the kernel to take away the namespace of a sandbox that has ended, and with it the cable. */
const VETH_REMOVAL_MS = 2_000;

const Cable = z.object({ address: z.string(), device: z.string() });
type Cable = z.infer<typeof Cable>;

/** The end of a cable in a sandbox, and what it is to become there. */
interface Card {
  name: string;
  address: string;
  prefix: number;
  gateway: string;
}

interface NetworkOptions {
  /** Tells this agent's things from another's. */
  tag: string;
  /** Name servers; default: the node's. */
  resolvers?: readonly string[] | undefined;
  /** `10.9.0.0/16`; default: a range that no route of this machine leads to. */
  subnet?: string | undefined;
  /**
   * The bridge and the rules are in the network namespace of this process. Default: our own. An agent in a container takes
   * one that outlives it.
   */
  uplinkPid?: number | undefined;
  /** Kept low for tests. */
  lookEveryMs?: number;
  log: Logger;
}

export class Network {
  readonly #bridge: string;
  readonly #table: string;
  readonly #range: Range;
  readonly #addresses: Addresses;
  readonly #resolvers: readonly string[];
  readonly #log: Logger;
  readonly #cables = new Map<string, Cable>();
  readonly #uplinkPid: number | undefined;
  readonly #ip: Ip;
  readonly #guard: Guard;
  readonly #vethRemoval: VethRemoval;
  #ready: Promise<void> | undefined;

  /** @throws ServiceError `invalid_request` when `subnet` is no network. */
  constructor({ tag, resolvers, subnet, uplinkPid, lookEveryMs = LOOK_EVERY_MS, log }: NetworkOptions) {
    this.#uplinkPid = uplinkPid;
    this.#bridge = `mbx-${tag.slice(0, 8)}`;
    this.#table = `millibox_${tag.slice(0, 8)}`;
    const routes = this.#read('route');
    this.#range = subnet === undefined ? rangeFor(tag, this.#bridge, routes) : parseRange(subnet);
    this.#addresses = new Addresses(this.#range);
    this.#resolvers = resolvers ?? findResolvers();
    this.#log = log;
    this.#ip = new Ip(uplinkPid);
    this.#guard = new Guard({
      table: this.#table,
      bridge: this.#bridge,
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

  /** Of a sandbox that was here before this agent. */
  adopt(id: string, dir: string): void {
    try {
      const cable = Cable.parse(JSON.parse(readFileSync(join(dir, 'cable.json'), 'utf8')));
      this.#cables.set(id, cable);
      this.#addresses.adopt(cable.address);
      this.#guard.start();
    } catch {
      // It has none.
    }
  }

  /**
   * Lays a cable into the network namespace of this process. What lies there has no address yet.
   * @throws ServiceError `capacity_exhausted` when no more fit; `internal` when this machine has no means for it.
   */
  async connect(id: string, dir: string, pid: number): Promise<Card> {
    if (this.#cables.size >= MAX_CABLES) {
      throw new ServiceError('capacity_exhausted', `this node already has ${MAX_CABLES} sandboxes with a network`);
    }
    await this.#beReady();
    const address = this.#addresses.take();
    const device = `mb${createHash('sha256').update(`${this.#bridge}${id}`).digest('hex').slice(0, 12)}`;
    const cable = { address, device };
    this.#cables.set(id, cable);
    this.#guard.start();
    await writeFile(join(dir, 'cable.json'), JSON.stringify(cable), { mode: 0o600 });
    const card: Card = { name: 'eth0', address, prefix: this.#range.prefix, gateway: this.#range.gateway };
    await this.#ip.run([
      `link add ${device} type veth peer name ${card.name} address ${cardOf(address)} netns ${pid}`,
      `link set ${device} addrgenmode none master ${this.#bridge} up`,
      // Neighbours on the bridge do not hear each other.
      `link set ${device} type bridge_slave isolated on`,
    ]);
    return card;
  }

  /** Sets a card up from outside, for who cannot do it in there. @throws ServiceError `internal`, `deadline_exceeded`. */
  async setUp({ name, address, prefix, gateway }: Card, pid: number): Promise<void> {
    const commands = [
      `link set ${name} addrgenmode none`,
      `addr add ${address}/${prefix} dev ${name}`,
      `link set ${name} up`,
      `route add default via ${gateway}`,
    ];
    await runInNetworkOf(pid, ['ip', '-batch', '-'], `${commands.join('\n')}\n`);
  }

  /** Resolves once the cable of a sandbox whose processes have ended is gone, if it had one. */
  async disconnect(id: string): Promise<void> {
    const cable = this.#cables.get(id);
    if (cable === undefined) return;
    await this.#vethRemoval.of(cable.device);
    this.#cables.delete(id);
    this.#addresses.giveBack(cable.address);
  }

  /** Removes the bridge and the rules unless sandboxes use them. */
  async close(): Promise<void> {
    await this.#guard.close();
    if (this.#cables.size === 0 && this.#exists()) {
      await this.#ip.run([`link delete ${this.#bridge}`]).catch(() => undefined);
      await this.#tool(['nft', '-f', '-'], `delete table inet ${this.#table}\n`).catch(() => undefined);
      await this.#letThrough('-D').catch(() => undefined);
    }
    this.#ip.close();
  }

  async #beReady(): Promise<void> {
    // Between two looks of the guard nobody has missed the rules but who has a cable.
    const made = this.#ready !== undefined;
    this.#ready ??= this.#build();
    try {
      await this.#ready;
    } catch (error) {
      this.#ready = undefined;
      throw error;
    }
    if (made && this.#cables.size === 0) await this.#guard.check();
  }

  #exists(): boolean {
    return this.#read('dev').includes(`${this.#bridge}:`);
  }

  /** What the kernel tells of the uplink's network namespace, which /sys need not be of. */
  #read(file: 'route' | 'dev'): string {
    return readFileSync(`/proc/${this.#uplinkPid ?? 'self'}/net/${file}`, 'utf8');
  }

  async #build(): Promise<void> {
    // By a program: whose setting the file is depends on who opens it.
    await this.#tool(['sh', '-c', `grep -qx 1 ${FORWARDING} || echo 1 >${FORWARDING}`]);
    // With a card address of its own: otherwise it would take one of its cables', another whenever cables come and go, and
    // sandboxes would talk to the one that it had before.
    const card = cardOf(this.#range.gateway);
    if (!this.#exists()) await this.#ip.run([`link add ${this.#bridge} address ${card} type bridge`]);
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
      this.#log.warn({ err: error }, 'the kernel cannot count connections: a sandbox may take all that the node has');
    });
    await this.#letThrough('-I');
    this.#log.info({ bridge: this.#bridge, subnet: this.#range.subnet }, 'the network of sandboxes is there');
  }

  /** Docker's own rules drop what is forwarded and not Docker's, unless this chain of the operator's says otherwise. */
  async #letThrough(what: '-I' | '-D'): Promise<void> {
    // Without Docker there is no such chain, and no need of one.
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

/** One for each address, so that who gets an address that another had is known by the same. */
function cardOf(address: string): string {
  const bytes = address.split('.').map((byte) => Number(byte).toString(16).padStart(2, '0'));
  return ['02', '6d', ...bytes].join(':');
}
