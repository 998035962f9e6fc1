/** The Helm chart: its output is valid, and matches docs/deploy.md. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { containerOf, only, podOf, render, renderText, VERSIONS, type Container, type Manifest } from './manifests.ts';
import { knownTo, load, type Program } from './settings.ts';
import { because, CHART, lacking, run, SCHEMAS } from './tools.ts';

const missing = lacking('helm', 'kubeconform');
const OWN_SCHEMAS = path.join(import.meta.dirname, 'schemas');
const HASH = 'ab'.repeat(32);

/** Realistic values, and everything that switches something on or off. */
const VALUE_SETS: Record<string, object> = {
  defaults: {},
  production: {
    imagePullSecrets: [{ name: 'pull' }],
    gateway: {
      image: { digest: `sha256:${HASH}` },
      replicas: 3,
      defaultImage: 'python:3.12-slim',
      previewDomain: 'preview.example.com',
      env: { MILLIBOX_PRIME_NETWORK: 'off', MILLIBOX_RESUME_MS: 30_000 },
      service: { type: 'LoadBalancer', annotations: { a: 'b' } },
      ingress: { enabled: true, className: 'nginx', host: 'millibox.example.com', tlsSecret: 'tls' },
      podDisruptionBudget: { maxUnavailable: '30%' },
    },
    agent: {
      image: { repository: 'registry:5000/agent', tag: '9.9.9', digest: `sha256:${HASH}` },
      ociProgram: 'crun',
      registry: {
        mirrors: { 'docker.io': 'mirror:5000', 'ghcr.io': 'mirror:5001' },
        insecure: ['mirror:5000'],
        existingSecret: 'pull',
      },
      resolvers: ['1.1.1.1', '9.9.9.9'],
      sandboxSubnet: '10.9.0.0/16',
      priorityClassName: 'system-node-critical',
      podAnnotations: { a: 'b' },
    },
    redis: { existingSecret: 'redis' },
    nodeSecret: { existingSecret: 'node' },
    auth: { existingSecret: 'keys' },
    networkPolicy: {
      gatewayFrom: [{ namespaceSelector: {} }],
      agentFrom: [{ ipBlock: { cidr: '10.0.0.0/24' } }],
    },
    serviceMonitor: { enabled: true, labels: { release: 'prometheus' } },
    dashboard: { enabled: true },
    tenants: { defaults: { sandboxes: 100 }, named: { team: { cpus: 8, keys: [{ sha256: HASH }] } } },
  },
  'names by DNS, the network of the node': {
    fullnameOverride: 'sandboxes',
    discovery: { mode: 'dns' },
    agent: {
      hostNetwork: true,
      runtime: 'gvisor',
      onStop: 'destroy',
      updateStrategy: { type: 'OnDelete', rollingUpdate: null },
    },
    redis: { url: 'redis://redis:6379' },
    auth: { generateAdminKey: false, keys: [{ tenant: 'team', sha256: HASH, admin: true }] },
    networkPolicy: { enabled: false },
    rbac: { create: false },
    serviceAccount: { create: false, name: 'mine' },
    tenants: { existingSecret: 'tenants' },
    gateway: { affinity: { nodeAffinity: {} }, podDisruptionBudget: { enabled: false } },
  },
};

/** A container's environment as its program gets it, with stand-ins for what comes from the cluster. */
function environment(container: Container): Record<string, string> {
  const stand = { MILLIBOX_NODE_NAME: 'node-1', POD_IP: '10.1.2.3' };
  const env: Record<string, string> = {};
  for (const { name, value } of container.env ?? []) {
    const text = value ?? (stand as Record<string, string>)[name];
    if (text === undefined) throw new Error(`nothing stands in for ${name}`);
    env[name] = text.replaceAll(/\$\((\w+)\)/g, (_, other: string) => env[other] ?? '');
  }
  return env;
}

const secretText = (manifest: Manifest, key: string): string =>
  Buffer.from(manifest.data?.[key] ?? '', 'base64').toString();

interface Verdict {
  /** The errors. */
  resources: { name: string; msg: string }[];
  summary: Record<string, number>;
}

/** Validates against the schemas of that Kubernetes version, which are all on this machine. */
async function check(input: string, version: string): Promise<Verdict> {
  const file = '{{.ResourceKind}}{{.KindSuffix}}.json';
  const locations = [path.join(SCHEMAS, `v${version}-local-strict`, file), path.join(OWN_SCHEMAS, file)];
  const args = ['-strict', '-output', 'json', '-summary', '-kubernetes-version', version];
  const { stdout } = await run('kubeconform', [...args, ...locations.flatMap((l) => ['-schema-location', l])], {
    input,
  });
  return JSON.parse(stdout) as Verdict;
}

describe.skipIf(missing.length > 0)(`the chart${because(missing)}`, () => {
  let dir: string;
  let defaults: Manifest[];
  beforeAll(async () => {
    dir = mkdtempSync(path.join(tmpdir(), 'mb-chart-'));
    defaults = await render();
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  test('passes helm lint', async () => {
    const { status, stdout } = await run('helm', ['lint', '--strict', '--kube-version', VERSIONS[1], CHART]);
    expect(stdout).toContain('0 chart(s) failed');
    expect(status).toBe(0);
  });

  test('would fail with an unknown field, or one of the wrong type', async () => {
    const text = (await renderText())
      .replace('hostPID: true', 'hostPIDs: true')
      .replace('replicas: 1', "replicas: '1'");
    const { resources } = await check(text, VERSIONS[1]);
    expect(resources.map(({ name }) => name).sort()).toEqual(['millibox-agent', 'millibox-gateway']);
  });

  test("sets each variable of a container once: an explicit value replaces the chart's", async () => {
    const values = {
      gateway: { env: { MILLIBOX_LISTEN: '[::]:8700' } },
      agent: { hostNetwork: true, env: { MILLIBOX_AGENT_LISTEN: '[::]:8701' } },
    };
    const manifests = await render({ values });
    const gateway = containerOf(only(manifests, 'Deployment'), 'gateway').env ?? [];
    const agent = containerOf(only(manifests, 'DaemonSet'), 'agent').env ?? [];
    for (const [variables, name, value] of [
      [gateway, 'MILLIBOX_LISTEN', '[::]:8700'],
      [agent, 'MILLIBOX_AGENT_LISTEN', '[::]:8701'],
    ] as const) {
      expect(variables.filter((each) => each.name === name)).toEqual([{ name, value }]);
      expect(new Set(variables.map((each) => each.name)).size).toBe(variables.length);
    }
  });

  describe.each(Object.entries(VALUE_SETS))('%s', (_name, values) => {
    let manifests: Manifest[];
    beforeAll(async () => {
      manifests = await render({ values });
    });

    test.each(VERSIONS)('renders objects that Kubernetes %s accepts, field by field', async (version) => {
      const { resources, summary } = await check(await renderText({ values, version }), version);
      expect(resources).toEqual([]);
      expect(summary).toMatchObject({ valid: manifests.length, invalid: 0, errors: 0, skipped: 0 });
    });

    test('names each object once', () => {
      const names = manifests.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
      expect(new Set(names).size).toBe(names.length);
    });

    test.each<[Program, string]>([
      ['gateway', 'Deployment'],
      ['agent', 'DaemonSet'],
    ])('tells the %s nothing but what it knows, and it starts with that', (program, kind) => {
      const env = environment(containerOf(only(manifests, kind), program));
      const names = Object.keys(env).filter((name) => name !== 'POD_IP');
      expect(names.filter((name) => !knownTo(program).has(name))).toEqual([]);
      expect(() => load(program, env, dir)).not.toThrow();
    });

    test('selects the pods that it creates', () => {
      for (const workload of [only(manifests, 'Deployment'), only(manifests, 'DaemonSet')]) {
        const { template, selector } = workload.spec ?? {};
        expect(template?.metadata.labels).toMatchObject(selector?.matchLabels ?? { nothing: 'selected' });
        const component = workload.metadata.labels['app.kubernetes.io/component'] ?? '';
        const service = only(manifests, 'Service', component);
        expect(service.spec?.selector).toEqual(selector?.matchLabels);
      }
    });

    test('mounts every volume that it declares, and declares every one that it mounts', () => {
      for (const workload of [only(manifests, 'Deployment'), only(manifests, 'DaemonSet')]) {
        const pod = podOf(workload);
        const mounted = [...pod.containers, ...(pod.initContainers ?? [])].flatMap((c) => c.volumeMounts ?? []);
        const names = (all: { name: string }[] | undefined): string[] =>
          [...new Set((all ?? []).map(({ name }) => name))].sort();
        expect(names(mounted)).toEqual(names(pod.volumes));
      }
    });
  });

  describe('gateways', () => {
    test('have a grace period longer than the time they give their work in progress', () => {
      const gateway = only(defaults, 'Deployment');
      const env = environment(containerOf(gateway, 'gateway'));
      const preStop = Number(containerOf(gateway, 'gateway').lifecycle?.preStop?.exec?.command[1]);
      const grace = podOf(gateway).terminationGracePeriodSeconds ?? 0;
      expect(grace).toBeGreaterThan(preStop + Number(env['MILLIBOX_DRAIN_MS']) / 1000);
    });

    test("receive traffic once they are ready, and have none of root's rights", () => {
      const container = containerOf(only(defaults, 'Deployment'), 'gateway');
      expect(container.readinessProbe?.httpGet?.path).toBe('/readyz');
      expect(container.securityContext).toMatchObject({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
    });

    test('may list and watch pods and nodes, and nothing else', () => {
      const rules = defaults.flatMap((each) => each.rules ?? []);
      expect(rules).toEqual([
        { apiGroups: [''], resources: ['nodes'], verbs: ['list', 'watch'] },
        { apiGroups: [''], resources: ['pods'], verbs: ['list', 'watch'] },
      ]);
    });

    test('query no nodes without permission to', async () => {
      const manifests = await render({ values: { discovery: { watchNodes: false } } });
      expect(manifests.flatMap((each) => each.rules ?? []).flatMap(({ resources }) => resources)).toEqual(['pods']);
      const env = environment(containerOf(only(manifests, 'Deployment'), 'gateway'));
      expect(env['MILLIBOX_KUBERNETES_NODES']).toBe('off');
    });

    test('look for the agents of their own release', () => {
      const env = environment(containerOf(only(defaults, 'Deployment'), 'gateway'));
      const selected = Object.fromEntries(
        (env['MILLIBOX_KUBERNETES_SELECTOR'] ?? '').split(',').map((pair) => pair.split('=') as [string, string]),
      );
      expect(only(defaults, 'DaemonSet').spec?.template?.metadata.labels).toMatchObject(selected);
      expect(selected).toHaveProperty(['app.kubernetes.io/instance'], 'millibox');
    });

    test('are two with Redis and one without, and several without it are refused', async () => {
      const replicas = async (values: object): Promise<number | undefined> =>
        only(await render({ values }), 'Deployment').spec?.replicas;
      expect(only(defaults, 'Deployment').spec?.replicas).toBe(1);
      expect(await replicas({ redis: { existingSecret: 'r' } })).toBe(2);
      await expect(replicas({ gateway: { replicas: 2 } })).rejects.toThrow('several gateways need redis');
    });
  });

  describe('agents', () => {
    test('leave sandboxes where the end of a pod cannot reach them', () => {
      const pod = podOf(only(defaults, 'DaemonSet'));
      const agent = containerOf(only(defaults, 'DaemonSet'), 'agent');
      const env = environment(agent);
      expect(pod).toMatchObject({ hostPID: true, hostNetwork: false, automountServiceAccountToken: false });
      expect(env).toMatchObject({ MILLIBOX_ON_STOP: 'keep', MILLIBOX_SANDBOX_UPLINK: 'host' });
      const onNode = Object.fromEntries(
        (pod.volumes ?? []).filter((v) => v.hostPath).map(({ name, hostPath }) => [name, hostPath?.path]),
      );
      const mounts = (agent.volumeMounts ?? []).filter(({ name }) => name in onNode);
      // At the same path, so that paths passed to the container runtime mean the same on the node.
      expect(mounts.map(({ name, mountPath }) => [name, mountPath])).toEqual(Object.entries(onNode));
      expect(mounts.find(({ name }) => name === 'data')?.mountPropagation).toBe('Bidirectional');
      expect(env['MILLIBOX_DATA_DIR']).toMatch(new RegExp(`^${onNode['data']}/`));
      expect(env['MILLIBOX_BOXINIT']).toMatch(new RegExp(`^${onNode['data']}/`));
      expect(onNode['cgroup']).toBe('/sys/fs/cgroup');
    });

    test('can be reached by gateways only', () => {
      const policy = only(defaults, 'NetworkPolicy', 'agent');
      const gateway = only(defaults, 'Deployment').spec?.selector;
      expect(policy.spec).toMatchObject({
        podSelector: only(defaults, 'DaemonSet').spec?.selector,
        policyTypes: ['Ingress'],
        ingress: [{ ports: [{ port: 'node-link' }], from: [{ podSelector: gateway }] }],
      });
    });

    test('serve metrics on a separate port, if a monitor is wanted', async () => {
      expect(environment(containerOf(only(defaults, 'DaemonSet'), 'agent'))).not.toHaveProperty(
        'MILLIBOX_AGENT_METRICS_LISTEN',
      );
      const from = [{ namespaceSelector: { matchLabels: { name: 'monitoring' } } }];
      const values = { serviceMonitor: { enabled: true }, networkPolicy: { metricsFrom: from } };
      const manifests = await render({ values });
      const agent = containerOf(only(manifests, 'DaemonSet'), 'agent');
      expect(agent.ports).toContainEqual({ name: 'metrics', containerPort: 8702, protocol: 'TCP' });
      expect(environment(agent)['MILLIBOX_AGENT_METRICS_LISTEN']).toBe('0.0.0.0:8702');
      expect(only(manifests, 'Service', 'agent').spec?.['ports']).toContainEqual(
        expect.objectContaining({ name: 'metrics', port: 8702 }),
      );
      expect(only(manifests, 'NetworkPolicy', 'agent').spec).toMatchObject({
        ingress: [{ ports: [{ port: 'node-link' }] }, { ports: [{ port: 'metrics' }], from }],
      });
      const monitor = only(manifests, 'ServiceMonitor', 'agent').spec;
      expect(monitor).toMatchObject({ endpoints: [{ port: 'metrics', path: '/metrics' }] });
      expect(monitor?.selector).toEqual(only(manifests, 'DaemonSet').spec?.selector);
    });

    test('do not appear protected where no policy applies', async () => {
      const values = { agent: { hostNetwork: true } };
      const manifests = await render({ values });
      expect(manifests.filter(({ kind }) => kind === 'NetworkPolicy').map(({ metadata }) => metadata.name)).toEqual([
        'millibox-gateway',
      ]);
      expect(environment(containerOf(only(manifests, 'DaemonSet'), 'agent'))['MILLIBOX_AGENT_LISTEN']).toBe(
        '10.1.2.3:8701',
      );
    });

    test('run on selected nodes only', () => {
      expect(podOf(only(defaults, 'DaemonSet')).nodeSelector).toEqual({ 'millibox/sandboxes': 'true' });
    });

    test("do not surge: two cannot share a node's data", async () => {
      const values = { agent: { updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1 } } } };
      await expect(render({ values })).rejects.toThrow('maxSurge');
    });
  });

  describe('secrets', () => {
    test('a key is generated, and only its hash reaches a gateway', () => {
      const secret = only(defaults, 'Secret', 'api-keys');
      const key = secretText(secret, 'admin-key');
      const hash = createHash('sha256').update(key).digest('hex');
      expect(key).toMatch(/^mbx_\w{43}$/);
      expect(secretText(secret, 'api-keys')).toBe(`admin:${hash}:admin`);
      const volume = podOf(only(defaults, 'Deployment')).volumes?.find(({ name }) => name === 'api-keys');
      expect(volume?.secret?.items).toEqual([{ key: 'api-keys', path: 'api-keys' }]);
    });

    test('both sides share one node secret', () => {
      const name = (kind: string): string | undefined =>
        podOf(only(defaults, kind)).volumes?.find((v) => v.name === 'node-secret')?.secret?.secretName;
      expect(secretText(only(defaults, 'Secret', 'node-secret'), 'node-secret')).toMatch(/^\w{43}$/);
      expect(name('Deployment')).toBe(only(defaults, 'Secret', 'node-secret').metadata.name);
      expect(name('DaemonSet')).toBe(name('Deployment'));
    });

    test('are in no environment', async () => {
      const manifests = await render({ values: VALUE_SETS['production'] ?? {} });
      const env = containerOf(only(manifests, 'Deployment'), 'gateway').env ?? [];
      expect(env.filter(({ valueFrom }) => valueFrom !== undefined)).toEqual([]);
      expect(env.map(({ name }) => name)).toContain('MILLIBOX_REDIS_URL_FILE');
    });

    test('none is generated if all are named', async () => {
      const manifests = await render({
        values: { nodeSecret: { existingSecret: 'n' }, auth: { existingSecret: 'k' } },
      });
      expect(manifests.filter(({ kind }) => kind === 'Secret')).toEqual([]);
    });

    test('tenants reach the gateway as the file that it reads', async () => {
      const manifests = await render({ values: VALUE_SETS['production'] ?? {} });
      expect(JSON.parse(secretText(only(manifests, 'Secret', 'tenants'), 'tenants.json'))).toEqual({
        defaults: { sandboxes: 100 },
        tenants: { team: { cpus: 8, keys: [{ sha256: HASH }] } },
      });
    });
  });

  test.each([
    ['a name that there is not', { gateway: { replica: 2 } }, 'replica'],
    ['a digest that is none', { gateway: { image: { digest: HASH } } }, 'digest'],
    ['a number for a text', { agent: { defaultImage: 3 } }, 'defaultImage'],
    ['a variable of somebody else', { agent: { env: { PATH: '/tmp' } } }, 'PATH'],
    ['a plain key for a hash', { auth: { keys: [{ tenant: 'a', sha256: 'secret' }] } }, 'sha256'],
    ['a password in a value', { redis: { url: 'redis://:secret@redis:6379' } }, 'url'],
    ['no key at all', { auth: { generateAdminKey: false } }, 'no API key'],
    ['an ingress without a name', { gateway: { ingress: { enabled: true } } }, 'gateway.ingress.host'],
  ])('refuses %s', async (_name, values, told) => {
    await expect(render({ values })).rejects.toThrow(told);
  });
});
