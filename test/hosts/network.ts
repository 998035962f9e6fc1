/**
 * Hosts on one machine: a network namespace each, joined by a bridge in a namespace of its own, with no route to
 * anything else. Faults are injected at the bridge, so that neither end is notified: a packet is just lost, or late.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { noteNamespaces } from '../helpers/data-dirs.ts';
import { Wire } from './wire.ts';

const run = promisify(execFile);
const COMMAND_MS = 60_000;

/** Reserved for network tests, never routed. */
const PREFIX = '198.18.0';
const MAX_HOSTS = 200;
const TABLE = 'cuts';

/** Why hosts cannot be created here; empty if they can. */
export async function lackingForHosts(): Promise<string> {
  if (process.getuid?.() !== 0) return 'root';
  const tried = [
    'ip link add br0 type bridge',
    'ip link add up0 type veth peer name down0',
    `nft add table bridge ${TABLE}`,
  ];
  return await run('unshare', ['--net', 'sh', '-c', tried.join(' && ')], { timeout: COMMAND_MS }).then(
    () => '',
    (error: unknown) => `way to make them: ${String((error as { stderr?: string }).stderr ?? error).trim()}`,
  );
}

export interface Port {
  readonly name: string;
  readonly address: string;
  /** The namespace. */
  readonly netns: string;
  /** Its end at the bridge. */
  readonly plug: string;
}

export class HostNetwork implements AsyncDisposable {
  readonly #name: string;
  readonly #switch: string;
  readonly #hosts = new Map<string, Port>();
  /** Directed: packets from `from` do not reach `to`. */
  readonly #cuts = new Map<string, [from: string, to: string | null]>();
  readonly #losses = new Map<string, number>();
  readonly #wires = new Map<string, Wire>();

  private constructor(name: string) {
    this.#name = name;
    this.#switch = `${name}s`;
    noteNamespaces(name);
  }

  static async make(names: readonly string[]): Promise<HostNetwork> {
    if (names.length > MAX_HOSTS) throw new Error(`more than ${MAX_HOSTS} hosts`);
    const network = new HostNetwork(`mbh${process.pid}-${crypto.randomUUID().slice(0, 4)}`);
    try {
      await network.#make(names);
      return network;
    } catch (error) {
      await network[Symbol.asyncDispose]();
      throw error;
    }
  }

  host(name: string): Port {
    const host = this.#hosts.get(name);
    if (host === undefined) throw new Error(`no host ${name}`);
    return host;
  }

  /** Blocks all traffic between this host and any other, or only `other`. */
  async cut(name: string, other: string | null = null): Promise<void> {
    await this.cutFrom(name, other);
    await this.cutTo(name, other);
  }

  /** Drops what the host sends; it still receives. */
  async cutFrom(name: string, other: string | null = null): Promise<void> {
    this.#cuts.set(`${name}>${other ?? '*'}`, [name, other]);
    await this.#apply();
  }

  /** Drops what is sent to the host; the others still receive. */
  async cutTo(name: string, other: string | null = null): Promise<void> {
    if (other !== null) return await this.cutFrom(other, name);
    this.#cuts.set(`*>${name}`, ['', name]);
    await this.#apply();
  }

  /** Undoes everything: no cuts, no loss, no delay. */
  async heal(): Promise<void> {
    this.#cuts.clear();
    this.#losses.clear();
    await this.#apply();
    for (const name of [...this.#wires.keys()]) await this.#shorten(name);
  }

  /** Drops this percentage of the packets to the host, chosen at random. */
  async lose(name: string, percent: number): Promise<void> {
    this.#losses.set(name, percent);
    await this.#apply();
  }

  /**
   * Delays each packet from and to the host by `ms`, plus or minus `jitterMs`, in order. At most 8 MiB are in flight
   * per direction; the rest is dropped. The delay may be changed until `heal`.
   */
  async delay(name: string, ms: number, jitterMs = 0): Promise<void> {
    const wire = this.#wires.get(name) ?? (await this.#lengthen(name));
    await wire.set(ms, jitterMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const wire of this.#wires.values()) await wire[Symbol.asyncDispose]();
    // Veth pairs are removed with the namespaces at their ends.
    for (const netns of [...Array.from(this.#hosts.values(), (host) => host.netns), this.#switch]) {
      await run('ip', ['netns', 'delete', netns], { timeout: COMMAND_MS }).catch(() => undefined);
    }
  }

  async #make(names: readonly string[]): Promise<void> {
    const ip = (...args: string[]): Promise<unknown> => run('ip', args, { timeout: COMMAND_MS });
    await ip('netns', 'add', this.#switch);
    await ip('-n', this.#switch, 'link', 'add', 'br0', 'type', 'bridge');
    await ip('-n', this.#switch, 'link', 'set', 'br0', 'up');
    for (const [i, name] of names.entries()) {
      const host = { name, address: `${PREFIX}.${i + 1}`, netns: `${this.#name}h${i}`, plug: `p${i}` };
      this.#hosts.set(name, host);
      await ip('netns', 'add', host.netns);
      await ip('-n', host.netns, 'link', 'set', 'lo', 'up');
      await ip(
        '-n',
        host.netns,
        'link',
        'add',
        'eth0',
        'type',
        'veth',
        'peer',
        'name',
        host.plug,
        'netns',
        this.#switch,
      );
      await ip('-n', host.netns, 'addr', 'add', `${host.address}/24`, 'dev', 'eth0');
      await ip('-n', host.netns, 'link', 'set', 'eth0', 'up');
      await ip('-n', this.#switch, 'link', 'set', host.plug, 'master', 'br0', 'up');
    }
    await this.#apply();
  }

  /** Puts a wire between the host's veth and the bridge. */
  async #lengthen(name: string): Promise<Wire> {
    const { plug } = this.host(name);
    const wire = await Wire.lay(this.#switch, `${plug}n`, `${plug}f`);
    this.#wires.set(name, wire);
    // From now on the wire's far end is the port at the bridge, under its name too. A bridge of two joins its near end.
    await this.#ip([
      `link set ${plug} nomaster down`,
      `link set ${plug} name ${plug}c`,
      `link set ${plug}f name ${plug}`,
      `link add ${plug}b type bridge`,
      `link set ${plug}b up`,
      `link set ${plug}c master ${plug}b up`,
      `link set ${plug}n master ${plug}b up`,
      `link set ${plug} master br0 up`,
    ]);
    return wire;
  }

  async #shorten(name: string): Promise<void> {
    const { plug } = this.host(name);
    await this.#wires.get(name)?.[Symbol.asyncDispose]();
    this.#wires.delete(name);
    await this.#ip([
      `link set ${plug}c nomaster down`,
      `link delete ${plug}b`,
      `link set ${plug}c name ${plug}`,
      `link set ${plug} master br0 up`,
    ]);
  }

  /** In the bridge's namespace. */
  async #ip(lines: readonly string[]): Promise<void> {
    const ip = run('ip', ['-n', this.#switch, '-batch', '-'], { timeout: COMMAND_MS });
    ip.child.stdin?.end(`${lines.join('\n')}\n`);
    await ip;
  }

  /** Replaces the whole table atomically: no packet passes in between. */
  async #apply(): Promise<void> {
    const rules = Array.from(this.#cuts.values(), ([from, to]) => {
      const input = from === '' ? '' : `iifname "${this.host(from).plug}" `;
      const output = to === null ? '' : `oifname "${this.host(to).plug}" `;
      return `    ${input}${output}drop`;
    });
    for (const [name, percent] of this.#losses) {
      rules.push(`    oifname "${this.host(name).plug}" numgen random mod 100 < ${percent} drop`);
    }
    const table = [
      `table bridge ${TABLE} {}`,
      `delete table bridge ${TABLE}`,
      `table bridge ${TABLE} {`,
      '  chain forward {',
      '    type filter hook forward priority 0; policy accept;',
      ...rules,
      '  }',
      '}',
    ];
    const nft = run('nsenter', [`--net=/run/netns/${this.#switch}`, 'nft', '-f', '-'], { timeout: COMMAND_MS });
    nft.child.stdin?.end(`${table.join('\n')}\n`);
    await nft;
  }
}
