/** The chart's objects find each other: every selector, rule, route and monitor refers to something that exists. */
import { beforeAll, describe, expect, test } from 'vitest';
import { only, podOf, render, type Container, type Manifest } from './manifests.ts';
import { because, lacking } from './tools.ts';

const missing = lacking('helm');
const VALUES = {
  gateway: {
    previewDomain: 'preview.example.com',
    ingress: { enabled: true, className: 'nginx', host: 'millibox.example.com', tlsSecret: 'tls' },
  },
  redis: { existingSecret: 'redis' },
  serviceMonitor: { enabled: true },
};

type Labels = Record<string, string>;
interface Peer {
  podSelector?: { matchLabels: Labels };
}
interface PolicySpec {
  podSelector: { matchLabels: Labels };
  ingress: { ports: { port: string; protocol: string }[]; from?: Peer[] }[];
}
interface ServiceSpec {
  selector: Labels;
  ports: { name: string; port: number; targetPort: string; protocol: string }[];
}
interface IngressSpec {
  tls: { hosts: string[] }[];
  rules: { host: string; http: { paths: { backend: { service: { name: string; port: { name: string } } } }[] } }[];
}
interface MonitorSpec {
  selector: { matchLabels: Labels };
  endpoints: { port: string; path: string }[];
}

const matches = (labels: Labels, selector: Labels): boolean =>
  Object.entries(selector).every(([key, value]) => labels[key] === value);

describe.skipIf(missing.length > 0)(`the objects of the chart${because(missing)}`, () => {
  let manifests: Manifest[];
  beforeAll(async () => {
    manifests = await render({ values: VALUES });
  });

  const all = (kind: string): Manifest[] => manifests.filter((each) => each.kind === kind);
  const specOf = <T>(manifest: Manifest): T => manifest.spec as unknown as T;
  const workloads = (): Manifest[] => [only(manifests, 'Deployment'), only(manifests, 'DaemonSet')];
  const labelsOf = (workload: Manifest): Labels => workload.spec?.template?.metadata.labels ?? {};
  const containersOf = (workload: Manifest): Container[] => podOf(workload).containers;
  const portsOf = (workload: Manifest) => containersOf(workload).flatMap(({ ports }) => ports ?? []);
  /** The one workload whose pods are selected. */
  function selected(selector: Labels): Manifest {
    const found = workloads().filter((workload) => matches(labelsOf(workload), selector));
    expect(found.map(({ metadata }) => metadata.name)).toHaveLength(1);
    return found[0] as Manifest;
  }

  test('a policy protects existing pods, on ports that they have, from existing pods', () => {
    expect(all('NetworkPolicy')).toHaveLength(2);
    for (const policy of all('NetworkPolicy')) {
      const { podSelector, ingress } = specOf<PolicySpec>(policy);
      const guarded = portsOf(selected(podSelector.matchLabels));
      const admitted = ingress.flatMap(({ ports }) => ports);
      for (const { port, protocol } of admitted) {
        expect(guarded).toContainEqual(expect.objectContaining({ name: port, protocol }));
      }
      // A port that no rule names cannot be reached.
      expect(guarded.map(({ name }) => name).sort()).toEqual(admitted.map(({ port }) => port).sort());
      for (const { podSelector: peer } of ingress.flatMap(({ from }) => from ?? [])) {
        if (peer !== undefined) selected(peer.matchLabels);
      }
    }
  });

  test('a policy admits gateways to agents, and not agents to each other', () => {
    const [gateway, agent] = workloads() as [Manifest, Manifest];
    const policy = all('NetworkPolicy').find((each) =>
      matches(labelsOf(agent), specOf<PolicySpec>(each).podSelector.matchLabels),
    );
    const link = specOf<PolicySpec>(policy as Manifest).ingress.find(({ ports }) =>
      ports.some(({ port }) => port === 'node-link'),
    );
    const peers = (link?.from ?? []).map(({ podSelector }) => podSelector?.matchLabels ?? {});
    expect(peers.some((peer) => matches(labelsOf(gateway), peer))).toBe(true);
    expect(peers.some((peer) => matches(labelsOf(agent), peer))).toBe(false);
  });

  test('a Service leads to ports that its pods have, and every probe uses one of them', () => {
    for (const service of all('Service')) {
      const { selector, ports } = specOf<ServiceSpec>(service);
      const there = portsOf(selected(selector)).map(({ name }) => name);
      for (const { targetPort } of ports) expect(there).toContain(targetPort);
    }
    for (const workload of workloads()) {
      const there = portsOf(workload).map(({ name }) => name);
      for (const { startupProbe, readinessProbe, livenessProbe } of containersOf(workload)) {
        for (const probe of [startupProbe, readinessProbe, livenessProbe]) {
          if (probe?.httpGet !== undefined) expect(there).toContain(probe.httpGet.port);
        }
      }
    }
  });

  test('a monitor finds one Service, and a port of it', () => {
    expect(all('ServiceMonitor')).toHaveLength(2);
    for (const monitor of all('ServiceMonitor')) {
      const { selector, endpoints } = specOf<MonitorSpec>(monitor);
      const found = all('Service').filter(({ metadata }) => matches(metadata.labels, selector.matchLabels));
      expect(found).toHaveLength(1);
      const named = specOf<ServiceSpec>(found[0] as Manifest).ports.map(({ name }) => name);
      for (const { port, path } of endpoints) {
        expect(named).toContain(port);
        expect(path).toBe('/metrics');
      }
    }
  });

  test("the Ingress routes every name to the gateways' Service, and has a certificate for each", () => {
    const { rules, tls } = specOf<IngressSpec>(only(manifests, 'Ingress'));
    const service = only(manifests, 'Service', 'gateway');
    const hosts = rules.map(({ host }) => host);
    expect(hosts).toEqual(['millibox.example.com', '*.preview.example.com']);
    expect(tls.flatMap((each) => each.hosts)).toEqual(hosts);
    for (const { backend } of rules.flatMap(({ http }) => http.paths)) {
      expect(backend.service.name).toBe(service.metadata.name);
      const named = specOf<ServiceSpec>(service).ports.map(({ name }) => name);
      expect(named).toContain(backend.service.port.name);
    }
  });

  test('the nginx Ingress keeps idle sockets open and streams large files, unless configured otherwise', async () => {
    const nginx = (name: string): string => `nginx.ingress.kubernetes.io/${name}`;
    expect(only(manifests, 'Ingress').metadata.annotations).toEqual({
      [nginx('proxy-read-timeout')]: '86400',
      [nginx('proxy-send-timeout')]: '86400',
      [nginx('proxy-body-size')]: '0',
      [nginx('proxy-buffering')]: 'off',
      [nginx('proxy-request-buffering')]: 'off',
    });
    const ingressWith = async (more: object): Promise<Manifest> => {
      const ingress = { enabled: true, host: 'millibox.example.com', ...more };
      return only(await render({ values: { gateway: { ingress } } }), 'Ingress');
    };
    const told = await ingressWith({
      className: 'nginx',
      annotations: { [nginx('proxy-body-size')]: '1g', own: 'too' },
    });
    expect(told.metadata.annotations).toMatchObject({
      [nginx('proxy-body-size')]: '1g',
      [nginx('proxy-read-timeout')]: '86400',
      own: 'too',
    });
    expect((await ingressWith({ className: 'traefik' })).metadata.annotations).toBeUndefined();
  });

  test('a disruption budget counts existing pods', () => {
    const budget = specOf<{ selector: { matchLabels: Labels } }>(only(manifests, 'PodDisruptionBudget'));
    expect(selected(budget.selector.matchLabels).kind).toBe('Deployment');
  });
});
