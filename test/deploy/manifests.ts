/** The chart as a cluster would receive it. */
import { loadAll, YAML11_SCHEMA } from 'js-yaml';
import { CHART, run } from './tools.ts';

export interface EnvVar {
  name: string;
  value?: string;
  valueFrom?: { fieldRef?: { fieldPath: string } };
}

export interface Probe {
  httpGet?: { path: string; port: string };
  timeoutSeconds?: number;
}

export interface SecurityContext {
  privileged?: boolean;
  runAsUser?: number;
  runAsGroup?: number;
  fsGroup?: number;
  allowPrivilegeEscalation?: boolean;
  readOnlyRootFilesystem?: boolean;
  capabilities?: { drop?: string[] };
}

export interface Container {
  name: string;
  image: string;
  command?: string[];
  env?: EnvVar[];
  securityContext?: SecurityContext;
  startupProbe?: Probe;
  readinessProbe?: Probe;
  livenessProbe?: Probe;
  resources?: { requests?: { memory?: string }; limits?: { memory?: string } };
  lifecycle?: { preStop?: { exec?: { command: string[] } } };
  volumeMounts?: { name: string; mountPath: string; mountPropagation?: string; readOnly?: boolean }[];
  ports?: { name: string; containerPort: number; protocol: string }[];
}

export interface Volume {
  name: string;
  secret?: { secretName: string; defaultMode?: number; items?: { key: string; path: string }[] };
  hostPath?: { path: string };
}

export interface PodSpec {
  containers: Container[];
  initContainers?: Container[];
  volumes?: Volume[];
  hostPID?: boolean;
  hostNetwork?: boolean;
  securityContext?: SecurityContext;
  terminationGracePeriodSeconds?: number;
  automountServiceAccountToken?: boolean;
  serviceAccountName?: string;
  affinity?: object;
  tolerations?: object[];
  nodeSelector?: Record<string, string>;
}

export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; labels: Record<string, string>; annotations?: Record<string, string> };
  spec?: {
    replicas?: number;
    template?: { metadata: { labels: Record<string, string> }; spec: PodSpec };
    selector?: { matchLabels: Record<string, string> };
    [more: string]: unknown;
  };
  data?: Record<string, string>;
  rules?: { apiGroups: string[]; resources: string[]; verbs: string[] }[];
}

export interface RenderOptions {
  values?: object;
  /** Kubernetes version; default: the newest that the tests know. */
  version?: string;
  args?: readonly string[];
}

/** The oldest and newest versions that the chart is checked against. */
export const VERSIONS = ['1.25.0', '1.37.0'] as const;

/** @throws Error with Helm's output. */
export async function renderText({
  values = {},
  version = VERSIONS[1],
  args = [],
}: RenderOptions = {}): Promise<string> {
  const where = ['--namespace', 'boxes', '--kube-version', version];
  const command = ['template', 'millibox', CHART, ...where, '--values', '-', ...args];
  const { status, stdout, stderr } = await run('helm', command, { input: JSON.stringify(values) });
  if (status !== 0) throw new Error(stderr);
  return stdout;
}

export async function render(options?: RenderOptions): Promise<Manifest[]> {
  // As Kubernetes parses it: 0400 is a mode.
  const documents = loadAll(await renderText(options), { schema: YAML11_SCHEMA }) as (Manifest | null)[];
  return documents.filter((each) => each !== null);
}

/** @throws Error unless there is exactly one. */
export function only(manifests: readonly Manifest[], kind: string, component?: string): Manifest {
  const found = manifests.filter(
    (each) =>
      each.kind === kind &&
      (component === undefined || each.metadata.labels['app.kubernetes.io/component'] === component),
  );
  const [one] = found;
  if (one === undefined || found.length > 1) throw new Error(`${found.length} of ${kind} ${component ?? ''}`);
  return one;
}

/** @throws Error if it has no pods, or none with that name. */
export function podOf(manifest: Manifest): PodSpec {
  const spec = manifest.spec?.template?.spec;
  if (spec === undefined) throw new Error(`${manifest.kind} has no pods`);
  return spec;
}

export function containerOf(manifest: Manifest, name: string): Container {
  const pod = podOf(manifest);
  const found = [...pod.containers, ...(pod.initContainers ?? [])].find((each) => each.name === name);
  if (found === undefined) throw new Error(`no container ${name}`);
  return found;
}
