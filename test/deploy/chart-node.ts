/** The chart on one node: its rendered pods, on the Docker engine instead of a kubelet's runtime. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { docker, type Images } from './engine.ts';
import { only, podOf, render, type Manifest } from './manifests.ts';
import type { NodeDir } from './node-dir.ts';
import { Pod } from './pod.ts';
import { Registry } from './registry.ts';

const NODE = 'node-1';
const PULL: Manifest = {
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name: 'pull', labels: {} },
  data: { '.dockerconfigjson': Buffer.from(Registry.credentials).toString('base64') },
};

export class ChartNode implements AsyncDisposable {
  readonly #network: string;
  readonly #node: NodeDir;
  readonly #manifests: readonly Manifest[];
  /** Agents with `onStop: destroy`. */
  readonly #last: Manifest;
  readonly #pods: Pod[] = [];
  #registry: Registry | null = null;

  private constructor(network: string, node: NodeDir, manifests: readonly Manifest[], last: Manifest) {
    this.#network = network;
    this.#node = node;
    this.#manifests = manifests;
    this.#last = last;
  }

  /** With a registry that only the chart's pull secret opens. */
  static async open(images: Images, node: NodeDir): Promise<ChartNode> {
    const image = (part: 'gateway' | 'agent'): object => ({ repository: images.name(part), tag: 'latest' });
    const values = {
      gateway: { image: image('gateway'), preStopSeconds: 2, drainSeconds: 60, env: { MILLIBOX_DNS_INTERVAL_MS: 500 } },
      agent: {
        image: image('agent'),
        dataPath: node.data,
        defaultImage: Registry.image,
        registry: { insecure: [Registry.host], existingSecret: PULL.metadata.name },
        resolvers: ['127.0.0.1'],
        minFreeMemoryMb: 256,
      },
      // There is no API server here, and the engine resolves the name of the headless Service.
      discovery: { mode: 'dns' },
      serviceMonitor: { enabled: true },
    };
    const last = await render({ values: { ...values, agent: { ...values.agent, onStop: 'destroy' } } });
    const cluster = new ChartNode(`${images.tag}-chart`, node, await render({ values }), only(last, 'DaemonSet'));
    await docker('network', 'create', cluster.#network);
    try {
      cluster.#registry = await Registry.start(images, cluster.#network, 'guarded');
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Everything that must not appear in a log. */
  get secrets(): string[] {
    const made = this.#manifests
      .filter(({ kind }) => kind === 'Secret')
      .flatMap(({ data }) => Object.values(data ?? {}));
    return [...made.map((text) => Buffer.from(text, 'base64').toString()), ...Object.values(PULL.data ?? {})];
  }

  get key(): string {
    const data = only(this.#manifests, 'Secret', 'api-keys').data ?? {};
    return Buffer.from(data['admin-key'] ?? '', 'base64').toString();
  }

  manifest(kind: string, component: 'agent' | 'gateway'): Manifest {
    return only(this.#manifests, kind, component);
  }

  /** @param onStop the chart's value */
  async startAgent(name: string, onStop: 'keep' | 'destroy' = 'keep'): Promise<Pod> {
    const service = only(this.#manifests, 'Service', 'agent').metadata.name;
    const agents = onStop === 'keep' ? this.manifest('DaemonSet', 'agent') : this.#last;
    return await this.#start(name, podOf(agents), [`${service}.boxes.svc.cluster.local`]);
  }

  async startGateway(name: string): Promise<Pod> {
    return await this.#start(name, podOf(this.manifest('Deployment', 'gateway')), []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pod of this.#pods) await pod.remove().catch(() => undefined);
    await this.#registry?.[Symbol.asyncDispose]().catch(() => undefined);
    await docker('network', 'rm', this.#network).catch(() => undefined);
  }

  async #start(name: string, spec: ReturnType<typeof podOf>, names: readonly string[]): Promise<Pod> {
    const dir = path.join(this.#node.dir, 'volumes');
    mkdirSync(dir, { recursive: true });
    const secrets = [...this.#manifests.filter(({ kind }) => kind === 'Secret'), PULL];
    const pod = new Pod(name, spec, { tag: this.#network, network: this.#network, node: NODE, dir, secrets });
    this.#pods.push(pod);
    await pod.start(names);
    return pod;
  }
}
