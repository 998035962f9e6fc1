/** A pod of the chart on the Docker engine, which gets the requests that a kubelet would make of its runtime. */
import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import path from 'node:path';
import { BASE, docker, logsOf, privileges } from './engine.ts';
import type { Container, Manifest, PodSpec, Probe, Volume } from './manifests.ts';

const PROBE_MS = 10_000;
const MEMORY: Record<string, number> = { Mi: 2 ** 20, Gi: 2 ** 30 };

export interface Cluster {
  /** Prefix of the names of everything that is created. */
  tag: string;
  /** The pods' Docker network. */
  network: string;
  /** The node's name. */
  node: string;
  /** Where Secret volumes are laid out. */
  dir: string;
  secrets: readonly Manifest[];
}

function bytes(quantity: string): number {
  const [, amount, unit = ''] = /^(\d+)(Mi|Gi)$/.exec(quantity) ?? [];
  return Number(amount) * (MEMORY[unit] ?? Number.NaN);
}

export class Pod {
  readonly #name: string;
  readonly #spec: PodSpec;
  readonly #cluster: Cluster;

  constructor(name: string, spec: PodSpec, cluster: Cluster) {
    this.#name = `${cluster.tag}-${name}`;
    this.#spec = spec;
    this.#cluster = cluster;
  }

  /**
   * Runs its init containers to completion, then its container.
   * @param names resolve to its address, like those of a headless Service
   */
  async start(names: readonly string[] = []): Promise<void> {
    await this.#open(names);
    for (const init of this.#spec.initContainers ?? []) await docker('run', '--rm', ...(await this.#arguments(init)));
    await this.#run();
  }

  /** Its container's id, for the engine. */
  get id(): string {
    return `${this.#name}-${this.container.name}`;
  }

  get container(): Container {
    const [container, ...more] = this.#spec.containers;
    if (container === undefined || more.length > 0) throw new Error(`${this.#name} has not one container`);
    return container;
  }

  address(): Promise<string> {
    return docker('inspect', '--format', '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}', this.#name);
  }

  logs(): Promise<string> {
    return logsOf(this.id);
  }

  /** The URL of one of its ports, by name. */
  async url(port: string): Promise<string> {
    const number = this.container.ports?.find(({ name }) => name === port)?.containerPort;
    if (number === undefined) throw new Error(`${this.#name} has no port ${port}`);
    return `http://${await this.address()}:${number}`;
  }

  /** Probes from the node, like the kubelet. */
  async passes(probe: Probe | undefined): Promise<boolean> {
    if (probe?.httpGet === undefined) throw new Error(`${this.#name} has no such probe`);
    const { path: at, port } = probe.httpGet;
    const signal = AbortSignal.timeout(PROBE_MS);
    return await fetch(`${await this.url(port)}${at}`, { signal }).then(
      ({ ok }) => ok,
      () => false,
    );
  }

  /** TCP ports that others can connect to. */
  async openPorts(): Promise<number[]> {
    const table = await docker('exec', this.id, 'cat', '/proc/net/tcp', '/proc/net/tcp6');
    const listening = [...table.matchAll(/^\s*\d+: (\w+):(\w{4}) \w+:0000 0A/gm)];
    // The engine's name server is on the loopback.
    const open = listening.filter(([, address = '']) => !address.endsWith('7F'));
    return [...new Set(open.map(([, , port = '']) => Number.parseInt(port, 16)))].sort();
  }

  /** The container dies, and is recreated in the same pod: no init container runs again. */
  async crash(): Promise<void> {
    await docker('kill', '--signal', 'KILL', this.id);
    await docker('rm', this.id);
    await this.#run();
  }

  /** As on deletion: the hook, SIGTERM, and SIGKILL after the grace period. */
  async end(): Promise<void> {
    const started = performance.now();
    const hook = this.container.lifecycle?.preStop?.exec?.command;
    if (hook !== undefined) await docker('exec', this.id, ...hook);
    const spent = (performance.now() - started) / 1_000;
    const grace = Math.ceil((this.#spec.terminationGracePeriodSeconds ?? 30) - spent);
    await docker('stop', '--time', String(grace), this.id);
    await this.remove();
  }

  /** At once, like `kubectl delete --force`. */
  async remove(): Promise<void> {
    await docker('rm', '--force', this.id, this.#name);
  }

  /** Creates the pod's own namespaces, which outlive its containers. */
  async #open(names: readonly string[]): Promise<void> {
    const aliases = names.flatMap((name) => ['--network-alias', name]);
    const network = ['--network', this.#spec.hostNetwork === true ? 'host' : this.#cluster.network, ...aliases];
    await docker('run', '--detach', '--name', this.#name, ...network, BASE, 'sleep', 'infinity');
  }

  async #run(): Promise<void> {
    await docker('run', '--detach', '--name', this.id, ...(await this.#arguments(this.container)));
  }

  async #arguments(container: Container): Promise<string[]> {
    const [entrypoint, ...args] = container.command ?? [];
    return [
      ...['--network', `container:${this.#name}`],
      ...(this.#spec.hostPID === true ? ['--pid', 'host'] : []),
      ...this.#rights(container),
      ...this.#bounds(container),
      ...this.#mounts(container),
      ...(await this.#environment(container)),
      ...(entrypoint === undefined ? [] : ['--entrypoint', entrypoint]),
      container.image,
      ...args,
    ];
  }

  #rights({ securityContext: own = {} }: Container): string[] {
    const { runAsUser, runAsGroup } = { ...this.#spec.securityContext, ...own };
    return [
      // A privileged container is in the node's cgroup namespace.
      ...(own.privileged === true ? [...privileges(), '--cgroupns', 'host'] : []),
      ...(runAsUser === undefined ? [] : ['--user', `${runAsUser}:${runAsGroup ?? 0}`]),
      ...(own.readOnlyRootFilesystem === true ? ['--read-only'] : []),
      ...(own.allowPrivilegeEscalation === false ? ['--security-opt', 'no-new-privileges'] : []),
      ...(own.capabilities?.drop ?? []).flatMap((each) => ['--cap-drop', each]),
    ];
  }

  /** Its memory, and the OOM score that the kubelet gives to a pod that may exceed its request. */
  #bounds({ resources }: Container): string[] {
    const { requests, limits } = resources ?? {};
    if (requests?.memory === undefined || limits?.memory === undefined) throw new Error('no memory is asked for');
    const score = Math.min(999, Math.max(3, 1000 - Math.floor((1000 * bytes(requests.memory)) / totalmem())));
    return ['--memory', String(bytes(limits.memory)), '--oom-score-adj', String(score)];
  }

  #mounts({ volumeMounts = [] }: Container): string[] {
    return volumeMounts.flatMap(({ name, mountPath, mountPropagation, readOnly }) => {
      const volume = this.#spec.volumes?.find((each) => each.name === name);
      if (volume === undefined) throw new Error(`no volume ${name}`);
      const options = [
        `type=bind,source=${volume.hostPath?.path ?? this.#laidOut(volume)},target=${mountPath}`,
        ...(readOnly === true ? ['readonly'] : []),
        `bind-propagation=${mountPropagation === 'Bidirectional' ? 'rshared' : 'rprivate'}`,
      ];
      return ['--mount', options.join(',')];
    });
  }

  #laidOut({ name, secret }: Volume): string {
    const data = this.#cluster.secrets.find(({ metadata }) => metadata.name === secret?.secretName)?.data ?? {};
    const at = path.join(this.#cluster.dir, `${this.#name}-${name}`);
    mkdirSync(at, { recursive: true });
    chmodSync(at, 0o755);
    for (const { key, path: file } of secret?.items ?? []) {
      const to = path.join(at, file);
      writeFileSync(to, Buffer.from(data[key] ?? '', 'base64'));
      chownSync(to, 0, this.#spec.securityContext?.fsGroup ?? 0);
      chmodSync(to, secret?.defaultMode ?? 0o644);
    }
    return at;
  }

  async #environment({ env = [] }: Container): Promise<string[]> {
    const known: Record<string, string> = {};
    const fields: Record<string, string> = {
      'spec.nodeName': this.#cluster.node,
      'status.podIP': await this.address(),
    };
    for (const { name, value, valueFrom } of env) {
      const text = value ?? fields[valueFrom?.fieldRef?.fieldPath ?? ''];
      if (text === undefined) throw new Error(`nothing stands in for ${name}`);
      known[name] = text.replaceAll(/\$\((\w+)\)/g, (_, other: string) => known[other] ?? '');
    }
    return Object.entries(known).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
  }
}
