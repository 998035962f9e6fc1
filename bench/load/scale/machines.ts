/**
 * Several agents on this machine and several gateways in front of them, each with a subset of the agents: so that one
 * agent and eight, one gateway and four, can be measured in turn, with the same processes running.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setupImage } from '../../../src/cli/config.ts';
import { Operator } from '../../../src/cli/io/operator.ts';
import {
  agentEnvironment,
  agentMain,
  boxinitPath,
  gatewayEnvironment,
  gatewayMain,
} from '../../../src/cli/up/parts.ts';
import { freePort } from '../../../src/cli/up/ports.ts';
import { keepSecret } from '../../../src/cli/up/secrets.ts';
import { removeAll } from '../../../src/lib/remove-all.ts';
import { Millibox } from '../../../src/sdk/index.ts';
import { environment } from '../../config.ts';
import type { BenchRun } from '../run.ts';
import { settle } from '../sandboxes.ts';

export interface Gateway {
  client: Millibox;
  operator: Operator;
}

interface Agent {
  node: string;
  port: number;
}

const READY_LIMIT_MS = 180_000;
const STOP_LIMIT_MS = 120_000;
const LAST_LINES = 8;

export class Machines implements AsyncDisposable {
  readonly #run: BenchRun;
  readonly #home: string;
  readonly #runtime: string | undefined;
  readonly #agents: Agent[] = [];
  readonly #parts: { name: string; child: ChildProcess; agent: boolean }[] = [];
  readonly #gateways: Gateway[] = [];
  readonly #secretFile: string;
  readonly #apiKeyFile: string;
  readonly #apiKey: string;

  /** @param runtime of the agents; undefined: the one that `auto` selects */
  constructor(run: BenchRun, runtime: string | undefined) {
    this.#run = run;
    this.#home = mkdtempSync(join(run.directory, 'home-'));
    this.#runtime = runtime;
    mkdirSync(join(this.#home, 'log'));
    this.#secretFile = join(this.#home, 'node-secret');
    this.#apiKeyFile = join(this.#home, 'api-key');
    keepSecret(this.#secretFile, '');
    this.#apiKey = keepSecret(this.#apiKeyFile, 'mbx_');
  }

  /** @param pool number of containers each keeps warm */
  async startAgents(count: number, pool: number): Promise<void> {
    for (let i = 1; i <= count; i++) {
      const agent = { node: `node-${i}`, port: await freePort() };
      this.#agents.push(agent);
      const dataDir = join(this.#home, agent.node);
      this.#run.noteDataDir(dataDir);
      this.#start(agent.node, agentMain(), {
        ...agentEnvironment({
          ...agent,
          dataDir,
          secretFile: this.#secretFile,
          boxinit: boxinitPath(),
          runtime: this.#runtime,
          image: setupImage()?.ref,
          pool,
        }),
      });
    }
  }

  /** A gateway in front of the first `agents` of them. Resolves when it reports them ready. */
  async startGateway(agents: number): Promise<Gateway> {
    const port = await freePort();
    const name = `gateway-${this.#gateways.length + 1}`;
    const { child } = this.#start(
      name,
      gatewayMain(),
      gatewayEnvironment({
        host: '127.0.0.1',
        port,
        secretFile: this.#secretFile,
        apiKeyFile: this.#apiKeyFile,
        agents: this.#agents.slice(0, agents),
      }),
    );
    const connection = { url: `http://127.0.0.1:${port}`, apiKey: this.#apiKey };
    const gateway = { client: new Millibox(connection), operator: new Operator(connection) };
    this.#gateways.push(gateway);
    await settle(
      async () => {
        if (child.exitCode !== null) throw new Error(`${name} ended: ${this.#lastLog(name)}`);
        const nodes = await gateway.operator.nodes().catch(() => []);
        return nodes.filter(({ state }) => state === 'ready').length === agents;
      },
      READY_LIMIT_MS,
      `${name} to see ${agents} agents`,
    );
    return gateway;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#gateways.map(({ client }) => client.close()));
    // Gateways first, so that nothing new begins; the agents then remove what they created.
    for (const agents of [false, true]) {
      await Promise.all(this.#parts.filter(({ agent }) => agent === agents).map(({ child }) => stop(child)));
    }
    await removeAll(this.#home);
  }

  #start(name: string, main: string, env: Record<string, string>): { child: ChildProcess } {
    const log = openSync(join(this.#home, 'log', `${name}.log`), 'a');
    const child = spawn(process.execPath, [main], {
      env: { ...environment(), ...env },
      cwd: '/',
      stdio: ['ignore', log, log],
      // An interrupt at the terminal reaches only the bench, which stops its parts in order.
      detached: true,
    });
    closeSync(log);
    this.#parts.push({ name, child, agent: main === agentMain() });
    return { child };
  }

  #lastLog(name: string): string {
    return readFileSync(join(this.#home, 'log', `${name}.log`), 'utf8')
      .split('\n')
      .slice(-LAST_LINES)
      .join('\n');
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS);
  await gone;
  clearTimeout(timer);
}
