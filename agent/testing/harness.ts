/** An agent on a runtime of the test's choice, with its own directory and port. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { silent } from '../../src/lib/logger.ts';
import { newSandboxId } from '../../src/protocol/ids.ts';
import type { SandboxRecord, SandboxSpec } from '../../src/protocol/node.ts';
import { startAgent, type Agent } from '../agent.ts';
import { loadConfig, type AgentConfig } from '../config.ts';
import { FakeRuntime, type FakeRuntimeOptions } from '../runtime/fake/fake-runtime.ts';
import type { ContainerRuntime } from '../runtime/runtime.ts';
import { NodeClient } from './node-client.ts';

export const SECRET = 'a secret that only tests share';

/** Long enough for a busy machine; a wait that reaches it has failed. */
const WAIT_MS = 25_000;

/** Polls until the condition holds. @throws Error that names what did not happen. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + WAIT_MS;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`${what} did not happen within ${WAIT_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export function newSpec(changes: Partial<SandboxSpec> = {}): SandboxSpec {
  const now = Date.now();
  return {
    id: newSandboxId(),
    tenant: 'tenant',
    name: null,
    image: 'image',
    cpus: 1,
    memoryMb: 64,
    diskMb: null,
    pidsLimit: 128,
    network: 'off',
    env: {},
    secrets: {},
    labels: {},
    startCommand: null,
    createdAtMs: now,
    expiresAtMs: now + 3_600_000,
    idleTimeoutMs: null,
    ...changes,
  };
}

export class Harness<R extends ContainerRuntime> implements AsyncDisposable {
  readonly dataDir: string;
  readonly runtime: R;
  readonly config: AgentConfig;
  agent: Agent;
  client: NodeClient;

  private constructor(dataDir: string, runtime: R, config: AgentConfig, agent: Agent, client: NodeClient) {
    this.dataDir = dataDir;
    this.runtime = runtime;
    this.config = config;
    this.agent = agent;
    this.client = client;
  }

  /** @param make creates the runtime of an agent with this directory; it outlives restarts of the agent */
  static async start<R extends ContainerRuntime>(
    make: (dataDir: string) => R | Promise<R>,
    env: Record<string, string> = {},
  ): Promise<Harness<R>> {
    const dataDir = mkdtempSync(path.join(tmpdir(), 'mbx-'));
    const config = loadConfig({
      MILLIBOX_NODE_SECRET: SECRET,
      MILLIBOX_NODE_NAME: 'node',
      MILLIBOX_AGENT_LISTEN: '127.0.0.1:0',
      MILLIBOX_DATA_DIR: dataDir,
      MILLIBOX_RUNTIME: 'fake',
      MILLIBOX_DEFAULT_IMAGE: 'image',
      MILLIBOX_POOL_MIN: '2',
      MILLIBOX_POOL_MAX: '4',
      MILLIBOX_POOL_MEMORY_MB: '64',
      MILLIBOX_MIN_FREE_MEMORY_MB: '0',
      ...env,
    });
    const runtime = await make(dataDir);
    const agent = await startAgent(config, runtime, silent);
    return new Harness(dataDir, runtime, config, agent, await NodeClient.dial(agent.port, SECRET));
  }

  static async fake(options: FakeRuntimeOptions = {}, env: Record<string, string> = {}): Promise<Harness<FakeRuntime>> {
    return await Harness.start(() => new FakeRuntime(options), env);
  }

  /** Stops the agent and starts another in its place; containers continue. */
  async restart(): Promise<void> {
    this.client.mux.close();
    await this.agent.stop();
    this.agent = await startAgent(this.config, this.runtime, silent);
    this.client = await NodeClient.dial(this.agent.port, SECRET);
  }

  /** Creates a sandbox and waits until it is running. */
  async sandbox(changes: Partial<SandboxSpec> = {}): Promise<SandboxRecord> {
    const { id } = await this.client.create(newSpec({ image: this.config.defaultImage, ...changes }));
    await this.reaches(id, 'RUNNING');
    return this.record(id);
  }

  record(id: string): SandboxRecord {
    return this.agent.sandboxes.get(id).record;
  }

  containerOf(id: string): string {
    const { containerId } = this.agent.sandboxes.get(id);
    if (containerId === null) throw new Error('the sandbox has no container');
    return containerId;
  }

  async reaches(id: string, status: SandboxRecord['status']): Promise<void> {
    await until(`${id} is ${status}`, () => this.record(id).status === status);
  }

  async warm(count: number): Promise<void> {
    const sum = (): number => this.agent.pools.states().reduce((total, { warm }) => total + warm, 0);
    await until(`${count} containers wait`, () => sum() >= count);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.mux.close();
    await this.agent.stop({ destroy: true });
    rmSync(this.dataDir, { recursive: true, force: true });
  }
}
