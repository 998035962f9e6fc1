/** Gateway and agents of one machine, as child processes with one home directory. */
import { chmodSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { request } from 'undici';
import { sleep } from '../../lib/deadline.ts';
import { inheritedEnvironment, setupImage } from '../config.ts';
import { hostPort } from '../../lib/host-port.ts';
import { makeDirectory } from '../../lib/make-directory.ts';
import { Operator, type NodeView } from '../io/operator.ts';
import { Child } from './child.ts';
import { agentEnvironment, agentMain, boxinitPath, checkLength, gatewayEnvironment, gatewayMain } from './parts.ts';
import { freePort, inTheWay } from './ports.ts';
import { keepSecret } from './secrets.ts';
import { claimHome, removeUpFile, upFile, writeUpFile } from './up-file.ts';

export interface StackOptions {
  home: string;
  host: string;
  /** 0: any free port. */
  port: number;
  agents: number;
  runtime?: string | undefined;
  image?: string | undefined;
  pool?: number | undefined;
  say: (line: string) => void;
  /** Aborts the start. */
  signal: AbortSignal;
}

const READY_LIMIT_MS = 120_000;
/** Time for work in progress when the service is stopped. */
const GATEWAY_DRAIN_MS = 7_000;
const GATEWAY_STOP_MS = GATEWAY_DRAIN_MS + 5_000;
/** The agent removes its containers before it exits. */
const AGENT_STOP_MS = 90_000;

export class Stack {
  readonly url: string;
  readonly apiKey: string;
  readonly home: string;
  readonly gateway: Child;
  readonly agents: readonly Child[];
  /** The default image of sandboxes; undefined: the agents' own default. */
  readonly image: string | undefined;

  private constructor(
    { url, apiKey, home, image }: Pick<Stack, 'url' | 'apiKey' | 'home' | 'image'>,
    gateway: Child,
    agents: readonly Child[],
  ) {
    this.url = url;
    this.apiKey = apiKey;
    this.home = home;
    this.image = image;
    this.gateway = gateway;
    this.agents = agents;
  }

  /** Starts all parts and waits until the gateway can serve. @throws Error that says what prevents it. */
  static async start(options: StackOptions): Promise<Stack> {
    const { host, say } = options;
    const home = resolve(options.home);
    checkLength(home, options.agents);
    for (const name of ['', 'run', 'log']) makeDirectory(join(home, name), 0o711);
    chmodSync(home, 0o711);
    claimHome(home);
    const port = options.port === 0 ? await freePort(host) : options.port;
    await assertFree(port, host);

    const secretFile = join(home, 'node-secret');
    const apiKeyFile = join(home, 'api-key');
    keepSecret(secretFile, '');
    const apiKey = keepSecret(apiKeyFile, 'mbx_');
    const env = inheritedEnvironment();
    const boxinit = boxinitPath();
    const image = options.image ?? setupImage()?.ref;

    // For parts that are restarted.
    let recorded: Stack | undefined;
    const nodes = [];
    for (let i = 1; i <= options.agents; i++) {
      const node = `node-${i}`;
      nodes.push({ node, dataDir: join(home, 'agents', node), port: await freePort() });
    }
    const child = (name: string, main: string, partEnv: Record<string, string>): Child =>
      new Child({
        name,
        file: process.execPath,
        args: [main],
        env: { ...env, ...partEnv },
        logFile: join(home, 'log', `${name}.log`),
        onRestart: say,
        // What a first start lacks, such as a valid setting, a second one will not have either.
        mayGoBetter: () => recorded !== undefined,
        onStart: () => recorded?.recordAgain(say),
      });
    const agents = nodes.map(({ node, dataDir, port: agentPort }) =>
      child(
        `agent-${node}`,
        agentMain(),
        agentEnvironment({
          node,
          port: agentPort,
          dataDir,
          secretFile,
          boxinit,
          runtime: options.runtime,
          image,
          pool: options.pool,
        }),
      ),
    );
    const gateway = child('gateway', gatewayMain(), {
      MILLIBOX_DRAIN_MS: String(GATEWAY_DRAIN_MS),
      ...gatewayEnvironment({ host, port, secretFile, apiKeyFile, agents: nodes }),
    });
    const stack = new Stack({ url: urlOf(host, port), apiKey, home, image }, gateway, agents);
    for (const part of [...agents, gateway]) part.start();
    try {
      await stack.#ready(options.signal);
    } catch (error) {
      await stack.stop();
      throw error;
    }
    stack.#record();
    recorded = stack;
    return stack;
  }

  /** A part has a new process id: the next `up` here must know it, in case this one is killed. */
  recordAgain(say: (line: string) => void): void {
    try {
      this.#record();
    } catch (error) {
      say(`${upFile(this.home)} cannot be written: ${String(error)}`);
    }
  }

  /** Gateway first, so that nothing new begins; then the agents, which remove what they created. */
  async stop(): Promise<void> {
    await this.gateway.stop(GATEWAY_STOP_MS);
    await Promise.all(this.agents.map((agent) => agent.stop(AGENT_STOP_MS)));
    removeUpFile(this.home);
  }

  /** The first node, as the operators' API shows it. */
  async node(): Promise<NodeView> {
    const [node] = await new Operator(this).nodes();
    if (node === undefined) throw new Error('no node has reported yet');
    return node;
  }

  async #ready(signal: AbortSignal): Promise<void> {
    const end = performance.now() + READY_LIMIT_MS;
    for (;;) {
      const failure = await notReady(this.url);
      if (failure === undefined) return;
      for (const part of [this.gateway, ...this.agents]) {
        if (part.gaveUp || part.failures >= 3) throw new Error(`${part.name} does not start: ${part.lastWords()}`);
      }
      if (performance.now() > end)
        throw new Error(`the service is not ready after ${READY_LIMIT_MS / 1000} s: ${failure}`);
      await sleep(50, signal);
    }
  }

  /** For the CLI on this machine, and for the next `up` here. */
  #record(): void {
    const pids = [this.gateway, ...this.agents].flatMap((part) => (part.pid === undefined ? [] : [part.pid]));
    writeUpFile(this.home, { pid: process.pid, url: this.url, pids });
  }
}

async function notReady(url: string): Promise<string | undefined> {
  try {
    const answer = await request(`${url}/readyz`, { headersTimeout: 5_000, bodyTimeout: 5_000 });
    const text = await answer.body.text();
    return answer.statusCode === 200 ? undefined : `${answer.statusCode} ${text.slice(0, 200)}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** @throws Error that says what prevents listening there, and what to do about it. */
async function assertFree(port: number, host: string): Promise<void> {
  const obstacle = await inTheWay(port, host);
  if (obstacle === undefined) return;
  if (obstacle !== 'EADDRINUSE') throw new Error(`cannot listen on ${host}:${port} here (${obstacle})`);
  throw new Error(
    `${host}:${port} is taken; is millibox up already? Another port: npm start -- --port ${port + 1}, or millibox up --port`,
  );
}

/** Where clients on this machine find a server that listens there. */
function urlOf(host: string, port: number): string {
  const shown = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  return `http://${hostPort(shown, port)}`;
}
