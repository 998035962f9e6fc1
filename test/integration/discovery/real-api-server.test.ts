/**
 * Nodes from a real API server, with the permissions granted by the chart. Runs if the server has been built
 * (`MILLIBOX_TEST_KUBERNETES=1`, which takes minutes).
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { DiscoveredNode } from '../../../src/gateway/discovery/discovery.ts';
import { openSession, type KubeSession } from '../../../src/gateway/discovery/kubernetes/client.ts';
import { KubernetesDiscovery, type KubernetesOptions } from '../../../src/gateway/discovery/kubernetes/kubernetes.ts';
import { AGENT_SELECTOR } from '../../../src/gateway/discovery/testing/objects.ts';
import { silent } from '../../../src/lib/logger.ts';
import { render } from '../../deploy/manifests.ts';
import { because, lacking } from '../../deploy/tools.ts';
import { wantsKubernetes } from '../../helpers/config.ts';
import { CutProxy } from '../../helpers/cut-proxy.ts';
import { until } from '../../helpers/until.ts';
import { ChartCluster, collection, NAMESPACE } from './chart-cluster.ts';
import { CONTROL_PLANE_PROGRAMS, ControlPlane } from './control-plane.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import { publishedOf, untilPublished } from './published.ts';

const LIMIT_MS = 120_000;
const QUICK = { firstPauseMs: 20, maxPauseMs: 200, refusedPauseMs: 200, requestMs: 20_000 };

const missing = lacking(...CONTROL_PLANE_PROGRAMS, 'helm', 'openssl');
const HOW = missing.length === 0 ? '' : ' (MILLIBOX_TEST_KUBERNETES=1 builds it)';
if (missing.length > 0 && wantsKubernetes()) throw new Error(`there is no ${missing.join(', ')}`);

interface Asked {
  path: string;
  query: Record<string, string>;
}

describe.skipIf(missing.length > 0)(`a real API server${because(missing)}${HOW}`, () => {
  let plane: ControlPlane;
  let cluster: ChartCluster;
  let way: CutProxy;
  /** Whether the gateway's connections break at their first byte. */
  let broken = false;
  let discovery: KubernetesDiscovery | null = null;
  let nodes: readonly DiscoveredNode[] | null = null;
  let asked: Asked[] = [];
  /** Called before each of the gateway's requests. */
  let before: (path: string, query: Record<string, string>) => Promise<void> | void;

  beforeAll(async () => {
    plane = await ControlPlane.start();
    cluster = await ChartCluster.install(plane);
    way = await CutProxy.listen({
      target: { host: '127.0.0.1', port: plane.port },
      plan: () => (broken ? { afterBytes: 0, abrupt: true } : null),
    });
  }, 2 * LIMIT_MS);
  afterAll(async () => {
    await way?.[Symbol.asyncDispose]();
    await plane?.[Symbol.asyncDispose]();
  }, LIMIT_MS);

  beforeEach(async () => {
    await cluster.issueToken();
    nodes = null;
    asked = [];
    before = () => undefined;
    broken = false;
  });
  afterEach(async () => {
    await discovery?.stop();
    discovery = null;
    await cluster.clear();
  });

  const kubeconfig = (): string =>
    writeKubeconfig({ dir: plane.dir, server: `https://127.0.0.1:${way.port}`, by: 'token', namespace: NAMESPACE });

  function discover({ timings, ...more }: Partial<KubernetesOptions> = {}): void {
    const config = kubeconfig();
    discovery = new KubernetesDiscovery({
      namespace: null,
      selector: AGENT_SELECTOR,
      port: 8701,
      family: 'auto',
      followNodes: true,
      ignoreTaints: [],
      configFile: config,
      log: silent,
      open: async () => overheard(await openSession(config)),
      ...more,
      timings: { ...QUICK, ...timings },
    });
    discovery.start((published) => (nodes = published));
  }

  const overheard = (session: KubeSession): KubeSession => ({
    ...session,
    get: async (path, query, signal) => {
      await before(path, query);
      const body = await session.get(path, query, signal);
      asked.push({ path, query });
      return body;
    },
  });

  /** Answered lists of Nodes. */
  const listsOfNodes = (): Asked[] => asked.filter(({ path, query }) => path.endsWith('/nodes') && !('watch' in query));
  const watchesOfNodes = (): Asked[] => asked.filter(({ path, query }) => path.endsWith('/nodes') && 'watch' in query);

  const published = (): string[] | null => publishedOf(nodes);
  const publishes = (...expected: string[]): Promise<void> => untilPublished(published, expected, LIMIT_MS);

  async function twoNodes(): Promise<void> {
    for (const [name, ip] of [
      ['a', '10.0.0.1'],
      ['b', '10.0.0.2'],
    ] as const) {
      await cluster.addNode(name);
      await cluster.addPod({ node: name, ip });
    }
  }
  const BOTH = ['a in 10.0.0.1:8701', 'b in 10.0.0.2:8701'];

  describe('and the chart', () => {
    test('it accepts all of its objects, field by field', async () => {
      const values = {
        gateway: { replicas: 3, ingress: { enabled: true, host: 'millibox.example.com' } },
        redis: { url: 'redis://redis:6379' },
        dashboard: { enabled: true },
      };
      const manifests = await render({ values });
      expect(manifests.length).toBeGreaterThan(10);
      for (const manifest of manifests) {
        const body = { ...manifest, metadata: { ...manifest.metadata, name: `dry-${manifest.metadata.name}` } };
        const { status, json } = await plane.ask(
          'POST',
          `${collection(manifest.kind)}?dryRun=All&fieldValidation=Strict`,
          { body },
        );
        expect(`${manifest.kind} ${status} ${status === 201 ? '' : json.message}`).toBe(`${manifest.kind} 201 `);
      }
    });

    test('it grants permission to list and watch pods here and Nodes, and nothing else', async () => {
      await twoNodes();
      const token = await cluster.issueToken();
      const { json } = await plane.ask('POST', '/apis/authorization.k8s.io/v1/selfsubjectrulesreviews', {
        body: { spec: { namespace: NAMESPACE } },
        token,
      });
      interface Rule {
        verbs: string[];
        apiGroups: string[];
        resources: string[];
      }
      // Everybody who is authenticated may ask what they may do.
      const own = (json.status.resourceRules as Rule[]).filter(
        ({ apiGroups }) => !apiGroups.every((group) => /^auth(entication|orization)\.k8s\.io$/.test(group)),
      );
      expect(own.map(({ verbs, resources }) => `${verbs.join()} ${resources.join()}`).sort()).toEqual([
        'list,watch nodes',
        'list,watch pods',
      ]);

      const pods = collection('Pod');
      for (const path of [pods, '/api/v1/nodes']) expect((await plane.ask('GET', path, { token })).status).toBe(200);
      const refused: [method: 'GET' | 'POST' | 'PATCH' | 'DELETE', path: string][] = [
        ['GET', collection('Secret')],
        ['GET', collection('ConfigMap')],
        ['GET', collection('ServiceAccount')],
        ['GET', `${pods}/agent-a`],
        ['GET', `${pods}/agent-a/log`],
        ['GET', '/api/v1/pods'],
        ['GET', '/api/v1/namespaces/kube-system/pods'],
        ['GET', '/api/v1/nodes/a'],
        ['POST', pods],
        ['POST', `${pods}/agent-a/exec`],
        ['POST', `${pods}/agent-a/eviction`],
        ['POST', `${collection('ServiceAccount')}/default/token`],
        ['PATCH', '/api/v1/nodes/a'],
        ['DELETE', `${pods}/agent-a`],
        ['DELETE', '/api/v1/nodes/a'],
      ];
      for (const [method, path] of refused) {
        const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
        const { status } = await plane.ask(method, path, { token, type, body: method === 'GET' ? undefined : {} });
        expect(`${method} ${path} ${status}`).toBe(`${method} ${path} 403`);
      }
      discover();
      await publishes(...BOTH);
    });

    test('without permission to read Nodes it relies on the pods, and uses the permission once granted', async () => {
      await twoNodes();
      await cluster.changeNode('b', { unschedulable: true });
      await cluster.withdraw('ClusterRoleBinding');
      discover();
      await publishes(...BOTH);
      await cluster.apply('ClusterRoleBinding');
      await publishes('a in 10.0.0.1:8701', 'b cordoned 10.0.0.2:8701');
    });
  });

  describe('is followed', () => {
    beforeEach(async () => {
      await twoNodes();
      discover();
      await publishes(...BOTH);
    });

    test('through cordon, taint, drain and deletion of Nodes', async () => {
      await cluster.changeNode('a', { unschedulable: true });
      await publishes('a cordoned 10.0.0.1:8701', 'b in 10.0.0.2:8701');
      await cluster.changeNode('a', { unschedulable: null, taints: [{ key: 'upgrade', effect: 'NoSchedule' }] });
      await publishes('a cordoned 10.0.0.1:8701', 'b in 10.0.0.2:8701');
      // Reported by a control plane that hears from no kubelet.
      await cluster.changeNode('a', { taints: [{ key: 'node.kubernetes.io/unreachable', effect: 'NoExecute' }] });
      await publishes(...BOTH);
      await cluster.removeNode('b');
      await publishes('a in 10.0.0.1:8701', 'b cordoned 10.0.0.2:8701');
      await cluster.removePod('agent-b');
      await publishes('a in 10.0.0.1:8701');
    });

    test('through the replacement of a pod, which is the same node elsewhere', async () => {
      await cluster.endPod('agent-a');
      await publishes('a leaving 10.0.0.1:8701', 'b in 10.0.0.2:8701');
      await cluster.addPod({ name: 'next', node: 'a', ip: 'fd00::5', ready: false });
      await cluster.removePod('agent-a');
      await publishes('a cordoned [fd00::5]:8701', 'b in 10.0.0.2:8701');
      await cluster.removePod('next');
      await publishes('b in 10.0.0.2:8701');
      await cluster.addPod({ node: 'a', ip: '10.0.0.9' });
      await publishes('a in 10.0.0.9:8701', 'b in 10.0.0.2:8701');
    });

    test('with a new token, once the old one is no longer valid', async () => {
      await cluster.issueOldToken();
      way.hangUp();
      await cluster.changeNode('a', { unschedulable: true });
      const turnedAway = way.connections + 5;
      await until(() => way.connections > turnedAway, LIMIT_MS, 'it to be turned away');
      expect(published()).toEqual(BOTH);
      await cluster.issueToken();
      await publishes('a cordoned 10.0.0.1:8701', 'b in 10.0.0.2:8701');
    });
  });

  test('reports the version of a quiet collection by bookmarks, and a watch resumes from there', async () => {
    await twoNodes();
    // The server sends one two seconds before it ends a watch.
    discover({ timings: { watchMs: 3_000 } });
    await publishes(...BOTH);
    await until(() => watchesOfNodes().length > 0, LIMIT_MS, 'a watch');
    // In another collection: its own version is that of the bookmark at most.
    const { metadata } = await plane.make(collection('ConfigMap'), { metadata: { generateName: 'other-' } });
    const later = ({ query }: Asked): boolean => Number(query['resourceVersion']) >= Number(metadata.resourceVersion);
    await until(() => watchesOfNodes().some(later), LIMIT_MS, 'a watch from a later version');
    expect(listsOfNodes()).toHaveLength(1);
    await cluster.changeNode('b', { unschedulable: true });
    await publishes('a in 10.0.0.1:8701', 'b cordoned 10.0.0.2:8701');
  });

  test('that is killed takes no node away, and missed changes are seen when it is back', async () => {
    await twoNodes();
    discover();
    await publishes(...BOTH);
    await plane.down();
    const attempts = way.connections + 10;
    await until(() => way.connections > attempts, LIMIT_MS, 'it to be looked for');
    expect(published()).toEqual(BOTH);
    await plane.up();
    await cluster.removePod('agent-b');
    await cluster.addNode('c');
    await cluster.addPod({ node: 'c', ip: '10.0.0.3' });
    await publishes('a in 10.0.0.1:8701', 'c in 10.0.0.3:8701');
  });

  // In its cache, which starts empty with the server, or in etcd, by compaction.
  test.each([true, false])(
    'that has forgotten the version of a watch is listed anew (with a cache: %s)',
    async (cache) => {
      await twoNodes();
      discover();
      await publishes(...BOTH);
      await until(() => watchesOfNodes().length > 0, LIMIT_MS, 'a watch');
      broken = true;
      way.hangUp();
      await cluster.removePod('agent-b');
      await cluster.changeNode('a', { unschedulable: true });
      await plane.compact();
      await plane.down();
      await plane.up({ cache });
      const lists = listsOfNodes().length;
      broken = false;
      await publishes('a cordoned 10.0.0.1:8701');
      expect(listsOfNodes().length).toBeGreaterThan(lists);
    },
  );

  test('that loses the rest of a list between two pages is asked for all of it', async () => {
    // With its cache it keeps a list that it began.
    await plane.down();
    await plane.up({ cache: false });
    await cluster.addPod({ node: 'n299', ip: '10.0.0.1' });
    for (let i = 0; i < 300; i += 20) {
      await Promise.all(Array.from({ length: 20 }, (_, j) => cluster.addNode(`n${i + j}`)));
    }
    let compactions = 0;
    before = async (path, query) => {
      if (!path.endsWith('/nodes') || query['continue'] === undefined) return;
      compactions += 1;
      await cluster.changeNode('n299', { unschedulable: true });
      await plane.compact();
    };
    discover();
    await publishes('n299 cordoned 10.0.0.1:8701');
    expect(compactions).toBe(1);
    expect(listsOfNodes().at(-1)?.query).toEqual({});
  });
});
