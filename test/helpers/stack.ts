/**
 * A real service for a test: gateway and agents from the build, as in production, with their own environment, home and
 * free ports. Parts can be killed and restarted. Disposing it leaves nothing behind.
 */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { removeAll } from '../../src/lib/remove-all.ts';
import { Millibox } from '../../src/sdk/index.ts';
import { Operator, type NodeView } from '../../src/cli/io/operator.ts';
import { setupImage } from '../../src/cli/config.ts';
import { agentEnvironment, agentMain, boxinitPath, gatewayEnvironment, gatewayMain } from '../../src/cli/up/parts.ts';
import { keepSecret } from '../../src/cli/up/secrets.ts';
import { allowedEnvironment, chosenRuntime } from './config.ts';
import { noteDataDir } from './data-dirs.ts';
import { freePort } from './ports.ts';
import { ServicePart, START_LIMIT_MS } from './service-part.ts';
import { until } from './until.ts';

/** Short: the homes are part of unix socket paths, which are limited to 107 bytes. */
const HOME_PREFIX = 'e2e-';

export interface StackOptions {
  /** Default: MILLIBOX_TEST_RUNTIME, or whatever `auto` chooses. */
  runtime?: string;
  /** Warm containers per node. */
  pool?: number;
  agents?: number;
  /** Where they listen, for tests that put something in between; default: free ports. */
  agentPorts?: readonly number[];
  /** Loopback addresses, for tests that distinguish agents by address; default: 127.0.0.1 for all. */
  agentHosts?: readonly string[];
  /** Number of gateways; clients of the tests know all of them. */
  gateways?: number;
  image?: string;
  agentEnv?: Record<string, string>;
  gatewayEnv?: Record<string, string>;
}

export async function startStack(options: StackOptions = {}): Promise<TestStack> {
  const stack = new TestStack(options);
  try {
    await stack.start();
  } catch (error) {
    const logs = stack.logs();
    await stack.stop();
    throw new Error(`the service did not start: ${String(error)}\n${logs}`, { cause: error });
  }
  return stack;
}

export class TestStack implements AsyncDisposable {
  readonly home: string;
  readonly options: StackOptions;
  #parts: { gateways: ServicePart[]; agents: ServicePart[] } | undefined;
  #client: Millibox | undefined;
  #urls: string[] = [];
  #apiKey = '';

  constructor(options: StackOptions) {
    this.options = options;
    this.home = mkdtempSync(join(tmpdir(), HOME_PREFIX));
    mkdirSync(join(this.home, 'log'));
  }

  /** Of the first gateway. */
  get url(): string {
    return this.#urls[0] ?? '';
  }

  get urls(): readonly string[] {
    return this.#urls;
  }

  get apiKey(): string {
    return this.#apiKey;
  }

  /** One client, shared by the tests of a file. */
  get client(): Millibox {
    if (this.#client === undefined) throw new Error('the service was not started');
    return this.#client;
  }

  get operator(): Operator {
    return this.operatorOf(0);
  }

  /** The operator's view through one gateway. */
  operatorOf(gateway: number): Operator {
    return new Operator({ url: this.#urls[gateway] ?? '', apiKey: this.#apiKey });
  }

  get agentPids(): number[] {
    return this.#all.agents.map((part) => part.pid);
  }

  get agentPorts(): number[] {
    return this.#all.agents.map(({ env }) => Number(env['MILLIBOX_AGENT_LISTEN']?.split(':').at(-1)));
  }

  get gatewayPids(): number[] {
    return this.#all.gateways.map((part) => part.pid);
  }

  get gatewayPid(): number {
    return this.#gateway(0).pid;
  }

  newClient(): Millibox {
    return new Millibox({ urls: this.#urls, apiKey: this.#apiKey });
  }

  async start(): Promise<void> {
    const { agents = 1, agentPorts = [], agentHosts = [], gateways = 1, pool = 2 } = this.options;
    const { agentEnv = {}, gatewayEnv = {} } = this.options;
    const runtime = this.options.runtime ?? chosenRuntime();
    const secretFile = join(this.home, 'node-secret');
    const apiKeyFile = join(this.home, 'api-key');
    keepSecret(secretFile, '');
    this.#apiKey = keepSecret(apiKeyFile, 'mbx_');
    const ports: number[] = [];
    for (let i = 0; i < gateways; i++) ports.push(await freePort());
    this.#urls = ports.map((port) => `http://127.0.0.1:${port}`);

    const nodes: { node: string; port: number }[] = [];
    for (let i = 1; i <= agents; i++) nodes.push({ node: `node-${i}`, port: agentPorts[i - 1] ?? (await freePort()) });
    for (const { node } of nodes) noteDataDir(join(this.home, node));
    const base = allowedEnvironment();
    const part = (name: string, main: string, env: Record<string, string>): ServicePart =>
      new ServicePart({ name, main, env, log: join(this.home, 'log', `${name}.log`) });
    this.#parts = {
      agents: nodes.map(({ node, port: agentPort }, i) =>
        part(node, agentMain(), {
          ...base,
          ...agentEnvironment({
            node,
            port: agentPort,
            dataDir: join(this.home, node),
            secretFile,
            boxinit: boxinitPath(),
            runtime,
            image: this.options.image ?? setupImage()?.ref,
            pool,
          }),
          ...(agentHosts[i] === undefined ? {} : { MILLIBOX_AGENT_LISTEN: `${agentHosts[i]}:${agentPort}` }),
          ...agentEnv,
        }),
      ),
      gateways: ports.map((port, i) =>
        part(gateways === 1 ? 'gateway' : `gateway-${i + 1}`, gatewayMain(), {
          ...base,
          ...gatewayEnvironment({ host: '127.0.0.1', port, secretFile, apiKeyFile, agents: nodes }),
          ...gatewayEnv,
        }),
      ),
    };
    for (const each of this.#everything) each.start();
    await this.ready();
    this.#client = this.newClient();
  }

  /** Resolves once each gateway is ready, and sees all nodes (or this many) ready. */
  async ready(nodes = this.#all.agents.length): Promise<void> {
    for (const gateway of this.#urls.keys()) await this.gatewayReady(gateway, nodes);
  }

  /** The same for one gateway. */
  async gatewayReady(gateway: number, nodes = this.#all.agents.length): Promise<void> {
    await until(
      async () => {
        if (this.#everything.some((part) => part.exitCode !== null)) return true;
        const views = await this.operatorOf(gateway).nodes();
        return views.filter(isReady).length >= nodes;
      },
      START_LIMIT_MS,
      'the nodes to be ready',
    );
    for (const part of this.#everything) part.checkAlive();
  }

  /** Resolves once this many containers are warm. */
  async warm(count: number): Promise<void> {
    await until(async () => (await this.operator.warm()) >= count, START_LIMIT_MS, `${count} warm containers`);
  }

  async killAgent(index = 0, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.#agent(index).end(signal);
  }

  restartAgent(index = 0): void {
    this.#agent(index).start();
  }

  async killGateway(signal: NodeJS.Signals = 'SIGKILL', index = 0): Promise<void> {
    await this.#gateway(index).end(signal);
  }

  restartGateway(index = 0): void {
    this.#gateway(index).start();
  }

  /**
   * Starts a replacement on a gateway's port (MILLIBOX_REUSE_PORT), and ends the first process once the replacement
   * listens.
   */
  async succeedGateway(index = 0): Promise<void> {
    await this.#gateway(index).succeed('gateway listens');
  }

  /** The parts' latest output, for the message of a failed test. */
  logs(): string {
    const { agents = [], gateways = [] } = this.#parts ?? {};
    return [...agents, ...gateways].map((part) => part.lastWords()).join('\n');
  }

  /** Ends everything. The agents remove what they created; one that is down is started once more for that. */
  async stop(): Promise<void> {
    await this.#client?.close();
    if (this.#parts !== undefined) {
      await Promise.all(this.#parts.gateways.map((part) => part.end('SIGTERM')));
      await Promise.all(this.#parts.agents.map((part) => this.#stopAgent(part)));
    }
    await removeAll(this.home);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  get #all(): { gateways: ServicePart[]; agents: ServicePart[] } {
    if (this.#parts === undefined) throw new Error('the service was not started');
    return this.#parts;
  }

  get #everything(): ServicePart[] {
    return [...this.#all.agents, ...this.#all.gateways];
  }

  #gateway(index: number): ServicePart {
    const part = this.#all.gateways[index];
    if (part === undefined) throw new Error(`no gateway ${index}`);
    return part;
  }

  #agent(index: number): ServicePart {
    const part = this.#all.agents[index];
    if (part === undefined) throw new Error(`no agent ${index}`);
    return part;
  }

  async #stopAgent(part: ServicePart): Promise<void> {
    if (part.env['MILLIBOX_ON_STOP'] === 'keep') {
      // It would leave everything to the next agent, which removes it.
      await part.end('SIGTERM');
      part.env = { ...part.env, MILLIBOX_ON_STOP: 'destroy' };
    }
    if (part.pid !== 0 && !part.running) {
      part.start();
      // It listens once it has adopted what the previous one left; before that it knows of nothing to remove.
      await until(() => answers(part), START_LIMIT_MS, `${part.name} to be there for its end`);
    }
    await part.end('SIGTERM');
  }
}

/** Whether an agent listens. */
async function answers(part: ServicePart): Promise<boolean> {
  const [host = '', port] = part.env['MILLIBOX_AGENT_LISTEN']?.split(':') ?? [];
  const socket = connect(Number(port), host);
  try {
    await once(socket, 'connect');
    return true;
  } finally {
    socket.destroy();
  }
}

const isReady = (node: NodeView): boolean => node.state === 'ready';
