/**
 * A node and the world around it, as two network namespaces for the test. Stand-ins in the world hold the addresses
 * that are tried; neither has a route to anything real.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';

const run = promisify(execFile);
const COMMAND_MS = 60_000;

export const PUBLIC = '203.0.113.10';
export const METADATA = '169.254.169.254';
export const PRIVATE = '10.99.0.1';
export const RESOLVER = '10.99.0.53';
/** The node's own address, on its uplink. */
export const NODE = '198.51.100.1';
const GATEWAY = '198.51.100.2';

/** The same for IPv6; with its own metadata service, and addresses that lead back to IPv4. */
export const SIX = {
  node: '2001:db8:1::1',
  gateway: '2001:db8:1::2',
  public: '2001:db8:80::10',
  metadata: 'fd00:ec2::254',
  private: 'fd12:3456::1',
  translated: '64:ff9b::a9fe:a9fe',
  tunnelled: '2002:a9fe:a9fe::1',
} as const;

/**
 * Says hello on TCP ports 80 and 53, and echoes what arrives on UDP port 53: from the very address that was contacted,
 * so each has its own socket.
 */
const STAND_IN = `
const net = require('node:net');
const dgram = require('node:dgram');
const serve = (port) => new Promise((done) =>
  net.createServer((s) => s.on('error', () => {}).end('hello')).listen(port, '0.0.0.0', done));
const echo = (address) => new Promise((done) => {
  const udp = dgram.createSocket('udp4');
  udp.on('message', (data, from) => udp.send(data, from.port, from.address));
  udp.bind(53, address, done);
});
Promise.all([serve(80), serve(53), echo('${RESOLVER}'), echo('${PRIVATE}')]).then(() => console.log('ready'));
`;

/** Why these tests cannot run here; empty if they can. */
export async function lacking(): Promise<string> {
  if (process.getuid?.() !== 0) return 'root';
  const there = (name: string): boolean => ['/usr/bin', '/usr/sbin'].some((dir) => existsSync(`${dir}/${name}`));
  const missing = ['ip', 'nft', 'iptables', 'nsenter', 'unshare'].filter((name) => !there(name));
  if (missing.length > 0) return missing.join(', ');
  const works = 'ip link add probe type bridge && nft add table inet probe';
  const outcome = await run('unshare', ['--net', 'sh', '-c', works], { timeout: COMMAND_MS }).then(
    () => '',
    () => 'a kernel with bridges and nftables',
  );
  return outcome;
}

export class World implements AsyncDisposable {
  readonly #node: string;
  readonly #world: string;
  #standIn: ChildProcess | undefined;

  private constructor(name: string) {
    this.#node = `${name}n`;
    this.#world = `${name}w`;
  }

  static async make(): Promise<World> {
    const world = new World(`mbt${process.pid}-${crypto.randomUUID().slice(0, 4)}`);
    try {
      await world.#make();
      return world;
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #make(): Promise<void> {
    const [node, world] = [this.#node, this.#world];
    const ip = (...args: string[]): Promise<unknown> => run('ip', args, { timeout: COMMAND_MS });
    for (const name of [node, world]) {
      await ip('netns', 'add', name);
      await ip('-n', name, 'link', 'set', 'lo', 'up');
    }
    await ip('-n', node, 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'w0', 'netns', world);
    await ip('-n', node, 'addr', 'add', `${NODE}/24`, 'dev', 'up0');
    await ip('-n', world, 'addr', 'add', `${GATEWAY}/24`, 'dev', 'w0');
    await ip('-n', node, 'link', 'set', 'up0', 'up');
    await ip('-n', world, 'link', 'set', 'w0', 'up');
    await ip('-n', node, 'route', 'add', 'default', 'via', GATEWAY);
    for (const address of [PUBLIC, METADATA, PRIVATE, RESOLVER]) {
      await ip('-n', world, 'addr', 'add', `${address}/32`, 'dev', 'lo');
    }
    this.#standIn = spawn('nsenter', [`--net=/run/netns/${world}`, process.execPath, '-e', STAND_IN], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const { stdout } = this.#standIn;
    if (stdout !== null) await once(stdout, 'data');
  }

  /** Enables IPv6, on node and world. */
  async speakSix(): Promise<void> {
    const add = async (where: string, address: string, device: string): Promise<unknown> =>
      await run('ip', ['-n', where, 'addr', 'add', address, 'dev', device, 'nodad']);
    const { node, gateway, ...held } = SIX;
    await add(this.#node, `${node}/64`, 'up0');
    await add(this.#world, `${gateway}/64`, 'w0');
    for (const address of Object.values(held)) await add(this.#world, `${address}/128`, 'lo');
    await run('ip', ['-n', this.#node, 'route', 'add', 'default', 'via', gateway]);
  }

  /** The file of the stand-ins' namespace. */
  get around(): string {
    return `/run/netns/${this.#world}`;
  }

  /** The output of a program run on the node. @throws Error if it fails. */
  async onNode(...command: string[]): Promise<string> {
    const options = { timeout: 5 * COMMAND_MS, maxBuffer: 16 * 1024 * 1024 };
    return (await run('nsenter', [`--net=/run/netns/${this.#node}`, ...command], options)).stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#standIn?.exitCode === null && this.#standIn.signalCode === null) {
      const gone = once(this.#standIn, 'exit');
      this.#standIn.kill('SIGKILL');
      await gone;
    }
    for (const name of [this.#node, this.#world]) await run('ip', ['netns', 'delete', name]).catch(() => undefined);
  }
}
