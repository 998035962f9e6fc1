/**
 * A service whose agents and gateways each have their own host (network.ts), with their own address and data. Tests
 * reach the gateways through a relay, so this machine's own network is not touched. Disposing it leaves nothing behind.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Operator } from '../../src/cli/io/operator.ts';
import { setupImage } from '../../src/cli/config.ts';
import { agentEnvironment, agentMain, boxinitPath, gatewayMain } from '../../src/cli/up/parts.ts';
import { keepSecret } from '../../src/cli/up/secrets.ts';
import { removeAll } from '../../src/lib/remove-all.ts';
import { GATEWAY_PORT } from '../../src/protocol/client.ts';
import { NODE_PORT } from '../../src/protocol/node.ts';
import { Millibox } from '../../src/sdk/index.ts';
import { allowedEnvironment, chosenRuntime } from '../helpers/config.ts';
import { noteDataDir } from '../helpers/data-dirs.ts';
import { until } from '../helpers/until.ts';
import { HostNetwork } from './network.ts';

export interface ClusterOptions {
  agents: number;
  gateways: number;
  /** Warm containers per node. */
  pool?: number;
  agentEnv?: Record<string, string>;
  gatewayEnv?: Record<string, string>;
}

const LIMIT_MS = 120_000;

/** A program on a host: `agent-1`, `gateway-2`. */
interface Part {
  name: string;
  main: string;
  env: Record<string, string>;
  process: ChildProcess | undefined;
}

interface Door {
  relay: ChildProcess;
  server: Server;
  client: Millibox;
  operator: Operator;
}

export class HostCluster implements AsyncDisposable {
  readonly network: HostNetwork;
  readonly #home: string;
  readonly #options: ClusterOptions;
  readonly #parts = new Map<string, Part>();
  readonly #doors: Door[] = [];

  private constructor(network: HostNetwork, options: ClusterOptions) {
    this.network = network;
    this.#options = options;
    // Short, for the unix sockets below it.
    this.#home = mkdtempSync(join(tmpdir(), 'h-'));
  }

  static async start(options: ClusterOptions): Promise<HostCluster> {
    const names = [...numbered('agent', options.agents), ...numbered('gateway', options.gateways)];
    const cluster = new HostCluster(await HostNetwork.make(names), options);
    try {
      await cluster.#start();
    } catch (error) {
      const logs = cluster.logs();
      await cluster[Symbol.asyncDispose]();
      throw new Error(`the hosts did not start: ${String(error)}\n${logs}`, { cause: error });
    }
    return cluster;
  }

  /** For the gateway on this host, counted from one. */
  client(gateway = 1): Millibox {
    return this.#door(gateway).client;
  }

  /** A node's state, as seen by that gateway. */
  async state(node: string, gateway = 1): Promise<string | undefined> {
    const nodes = await this.#door(gateway).operator.nodes();
    return nodes.find((each) => each.name === node)?.state;
  }

  async becomes(node: string, state: string, gateway = 1): Promise<void> {
    const done = async (): Promise<boolean> => (await this.state(node, gateway)) === state;
    await until(done, LIMIT_MS, `${node} to be ${state} for gateway-${gateway}`);
  }

  /** As if its host lost power, except for the containers. */
  async kill(name: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await end(this.#part(name).process, signal);
  }

  restart(name: string): void {
    this.#spawn(this.#part(name));
  }

  /** Offsets the wall clock of this host's program from now on. Its other clocks are unaffected. */
  stepClock(name: string, offsetMs: number): void {
    writeFileSync(this.#clockFile(name), String(offsetMs));
  }

  /** The programs' latest output, for the message of a failed test. */
  logs(): string {
    return [...this.#parts.keys()]
      .map((name) => {
        const path = this.#log(name);
        return `--- ${name}\n${existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(-25).join('\n') : ''}`;
      })
      .join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Agents remove what they created, whether they can be reached or not.
    for (const { client } of this.#doors) await client.close();
    const all = [...this.#parts.values()];
    await Promise.all(all.filter(({ main }) => main === gatewayMain()).map((part) => end(part.process, 'SIGTERM')));
    await Promise.all(all.filter(({ main }) => main === agentMain()).map((part) => this.#endAgent(part)));
    for (const { relay, server } of this.#doors) {
      await end(relay, 'SIGKILL');
      await new Promise((resolve) => server.close(resolve));
    }
    await this.network[Symbol.asyncDispose]();
    await removeAll(this.#home);
  }

  async #start(): Promise<void> {
    const { agents, gateways, pool = 2, agentEnv = {}, gatewayEnv = {} } = this.#options;
    const secretFile = join(this.#home, 'node-secret');
    const apiKeyFile = join(this.#home, 'api-key');
    keepSecret(secretFile, '');
    const apiKey = keepSecret(apiKeyFile, 'mbx_');
    const names = numbered('agent', agents);
    for (const name of names) {
      const dataDir = join(this.#home, name);
      noteDataDir(dataDir);
      const env = agentEnvironment({
        node: name,
        port: NODE_PORT,
        dataDir,
        secretFile,
        boxinit: boxinitPath(),
        runtime: chosenRuntime(),
        image: setupImage()?.ref,
        pool,
      });
      const listen = { MILLIBOX_AGENT_LISTEN: `${this.network.host(name).address}:${NODE_PORT}` };
      this.#add(name, agentMain(), { ...env, ...listen, ...agentEnv });
    }
    const nodes = names.map((name) => `${name}=ws://${this.network.host(name).address}:${NODE_PORT}`).join(',');
    for (const name of numbered('gateway', gateways)) {
      const env = {
        MILLIBOX_LISTEN: `127.0.0.1:${GATEWAY_PORT}`,
        MILLIBOX_NODES: nodes,
        MILLIBOX_NODE_SECRET_FILE: secretFile,
        MILLIBOX_API_KEY_FILE: apiKeyFile,
      };
      this.#add(name, gatewayMain(), { ...env, ...gatewayEnv });
      this.#doors.push(await this.#openDoor(name, apiKey));
    }
    for (const part of this.#parts.values()) this.#spawn(part);
    for (let gateway = 1; gateway <= gateways; gateway++) {
      for (const name of names) await this.becomes(name, 'ready', gateway);
    }
  }

  #add(name: string, main: string, env: Record<string, string>): void {
    this.#parts.set(name, { name, main, env: { ...allowedEnvironment(), ...env }, process: undefined });
  }

  #spawn(part: Part): void {
    const log = openSync(this.#log(part.name), 'a');
    const env = { ...part.env, TEST_CLOCK_FILE: this.#clockFile(part.name) };
    const clock = join(import.meta.dirname, 'clock.mjs');
    part.process = this.#run(part.name, ['--import', clock, part.main], { env, stdio: ['ignore', log, log] });
    closeSync(log);
  }

  /** Node, on a host. */
  #run(name: string, args: string[], options: object): ChildProcess {
    const inside = [`--net=/run/netns/${this.network.host(name).netns}`, '--', process.execPath, ...args];
    return spawn('nsenter', inside, { cwd: '/', ...options });
  }

  /** From a loopback port of this machine, through a unix socket, to the gateway's port on its host. */
  async #openDoor(name: string, apiKey: string): Promise<Door> {
    const path = join(this.#home, `${name}.sock`);
    const args = [join(import.meta.dirname, 'relay.cjs'), path, '127.0.0.1', String(GATEWAY_PORT)];
    const relay = this.#run(name, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    if (relay.stdout !== null) await once(relay.stdout, 'data');
    const server = createServer({ allowHalfOpen: true }, (near) => {
      const far = connect({ path, allowHalfOpen: true });
      near.on('error', () => far.destroy()).on('close', () => far.destroy());
      far.on('error', () => near.destroy()).on('close', () => near.destroy());
      near.pipe(far).pipe(near);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return { relay, server, client: new Millibox({ url, apiKey }), operator: new Operator({ url, apiKey }) };
  }

  async #endAgent(part: Part): Promise<void> {
    // One that was killed is started once more to remove what it created.
    if (part.process !== undefined && !isRunning(part.process)) {
      const before = readFileSync(this.#log(part.name), 'utf8').length;
      this.#spawn(part);
      const listens = (): boolean => readFileSync(this.#log(part.name), 'utf8').includes('listens on', before);
      await until(listens, LIMIT_MS, `${part.name} to be there for its end`);
    }
    await end(part.process, 'SIGTERM');
  }

  #part(name: string): Part {
    const part = this.#parts.get(name);
    if (part === undefined) throw new Error(`no ${name}`);
    return part;
  }

  #door(gateway: number): Door {
    const door = this.#doors[gateway - 1];
    if (door === undefined) throw new Error(`no gateway-${gateway}`);
    return door;
  }

  #log = (name: string): string => join(this.#home, `${name}.log`);
  #clockFile = (name: string): string => join(this.#home, `${name}.clock`);
}

const numbered = (what: string, count: number): string[] => Array.from({ length: count }, (_, i) => `${what}-${i + 1}`);

const isRunning = (child: ChildProcess): boolean => child.exitCode === null && child.signalCode === null;

async function end(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (child === undefined || !isRunning(child)) return;
  const gone = once(child, 'exit');
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
  await gone;
  clearTimeout(timer);
}
