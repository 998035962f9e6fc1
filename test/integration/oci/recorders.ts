/**
 * A node and the world around it, in network namespaces for the test, with packet recorders: nftables sets that record
 * who sent what to whom, whether or not anything listens there.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Place } from '../oci-network/places.ts';

const exec = promisify(execFile);
const COMMAND_MS = 60_000;

/** The node's own address on its uplink. */
export const NODE = '198.51.100.1';
export const GATEWAY = '198.51.100.2';
export const PUBLIC = '203.0.113.10';
export const RESOLVER = '10.99.0.53';
/** A second address of the node, on an interface that leads nowhere. */
export const NODE_INSIDE = '172.31.9.1';
export const NODE_SIX = '2001:db8:1::1';

/** The output of a program run in a process's network namespace. */
export async function inside(pid: number, ...command: string[]): Promise<string> {
  const args = [`--net=/proc/${pid}/ns/net`, ...command];
  return (await exec('nsenter', args, { timeout: COMMAND_MS, maxBuffer: 16 * 1024 * 1024 })).stdout;
}

/** Records what passes `hook` on this interface, before anyone's rules or after all. */
export class PacketRecorder {
  readonly #pid: number;
  readonly #table: string;

  private constructor(pid: number, table: string) {
    this.#pid = pid;
    this.#table = table;
  }

  static async at(pid: number, card: string, where: 'arriving' | 'accepted'): Promise<PacketRecorder> {
    const table = `ear_${where}`;
    const hook = where === 'arriving' ? 'prerouting priority -400' : 'input priority 200';
    await nft(
      pid,
      `add table inet ${table}
       add set inet ${table} four { typeof ip saddr . ip daddr . ip protocol; size 65535; flags dynamic; }
       add set inet ${table} six { typeof ip6 saddr . ip6 daddr . meta l4proto; size 65535; flags dynamic; }
       add set inet ${table} options { typeof ip saddr . ip daddr . ip protocol; size 65535; flags dynamic; }
       add chain inet ${table} ear { type filter hook ${hook}; }
       add rule inet ${table} ear iifname "${card}" meta nfproto ipv4 add @four { ip saddr . ip daddr . ip protocol }
       add rule inet ${table} ear iifname "${card}" ip hdrlength > 5 add @options { ip saddr . ip daddr . ip protocol }
       add rule inet ${table} ear iifname "${card}" meta nfproto ipv6 add @six { ip6 saddr . ip6 daddr . meta l4proto }`,
    );
    return new PacketRecorder(pid, table);
  }

  /** As `from > to protocol`, each once, in order. */
  async recorded(): Promise<string[]> {
    const all = await Promise.all(['four', 'six'].map((set) => this.#elements(set)));
    return all.flat().sort();
  }

  /** The same, for IPv4 packets with options. */
  async recordedWithOptions(): Promise<string[]> {
    return (await this.#elements('options')).sort();
  }

  async forget(): Promise<void> {
    for (const set of ['four', 'six', 'options']) await nft(this.#pid, `flush set inet ${this.#table} ${set}`);
  }

  async #elements(set: string): Promise<string[]> {
    const told = JSON.parse(await inside(this.#pid, 'nft', '-j', 'list', 'set', 'inet', this.#table, set)) as {
      nftables: { set?: { elem?: ({ concat: unknown[] } | { elem: { val: { concat: unknown[] } } })[] } }[];
    };
    const elements = told.nftables.flatMap((each) => each.set?.elem ?? []);
    return elements.map((each) => {
      const [from, to, protocol] = 'concat' in each ? each.concat : each.elem.val.concat;
      return `${String(from)} > ${String(to)} ${String(protocol)}`;
    });
  }
}

async function nft(pid: number, commands: string): Promise<void> {
  await inside(pid, 'nft', commands);
}

export class Surroundings implements AsyncDisposable {
  readonly node: Place;
  readonly world: Place;

  private constructor(node: Place, world: Place) {
    this.node = node;
    this.world = world;
  }

  /** The world is where the node's default route leads. */
  static async make(): Promise<Surroundings> {
    const [node, world] = await Promise.all([Place.open('node'), Place.open('world')]);
    const made = new Surroundings(node, world);
    const onNode = (...args: string[]): Promise<string> => inside(node.pid, 'ip', ...args);
    const around = (...args: string[]): Promise<string> => inside(world.pid, 'ip', ...args);
    try {
      await onNode('link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'w0', 'netns', String(world.pid));
      await onNode('addr', 'add', `${NODE}/24`, 'dev', 'up0');
      await onNode('addr', 'add', `${NODE_INSIDE}/32`, 'dev', 'lo');
      await onNode('addr', 'add', `${NODE_SIX}/64`, 'dev', 'up0', 'nodad');
      await onNode('link', 'set', 'up0', 'up');
      await around('addr', 'add', `${GATEWAY}/24`, 'dev', 'w0');
      await around('addr', 'add', '2001:db8:1::2/64', 'dev', 'w0', 'nodad');
      await around('link', 'set', 'w0', 'up');
      for (const address of [PUBLIC, RESOLVER]) await around('addr', 'add', `${address}/32`, 'dev', 'lo');
      await onNode('route', 'add', 'default', 'via', GATEWAY);
      await onNode('-6', 'route', 'add', 'default', 'via', '2001:db8:1::2');
      return made;
    } catch (error) {
      await made[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.node.close(), this.world.close()]);
  }
}
