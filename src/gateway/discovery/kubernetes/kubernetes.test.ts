/** How long discovery waits for what a cluster has not reported yet. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { silent } from '../../../lib/logger.ts';
import type { DiscoveredNode } from '../discovery.ts';
import { KubeModel } from '../testing/kube-model.ts';
import { memorySessions } from '../testing/memory-session.ts';
import { AGENT_SELECTOR, node, pod } from '../testing/objects.ts';
import { KubernetesDiscovery } from './kubernetes.ts';

const SOON_MS = 1_000;

let model: KubeModel;
let discovery: KubernetesDiscovery;
let published: { nodes: readonly DiscoveredNode[]; complete: boolean } | null;

beforeEach(() => {
  vi.useFakeTimers();
  model = new KubeModel();
  published = null;
  discovery = new KubernetesDiscovery({
    namespace: 'sandboxes',
    selector: AGENT_SELECTOR,
    port: 8701,
    family: 'auto',
    followNodes: true,
    ignoreTaints: [],
    configFile: null,
    log: silent,
    open: memorySessions(model),
  });
});
afterEach(async () => {
  vi.useRealTimers();
  await discovery.stop();
});

const start = (): void => discovery.start((nodes, complete) => (published = { nodes, complete }));
const after = async (ms: number): Promise<void> => void (await vi.advanceTimersByTimeAsync(ms));
const names = (): (string | null)[] | undefined => published?.nodes.map(({ name }) => name);

test('pods that have yet to start keep a list from being complete for ten minutes, and no longer', async () => {
  model.put('nodes', node('a'));
  model.put('nodes', node('b'));
  model.put('pods', pod({ node: 'a' }));
  model.put('pods', pod({ node: 'b', ip: null, phase: 'Pending', ready: false }));
  start();
  await after(SOON_MS);
  expect([names(), published?.complete]).toEqual([['a'], false]);
  await after(9 * 60_000);
  expect(published?.complete).toBe(false);
  await after(60_000);
  expect([names(), published?.complete]).toEqual([['a'], true]);
});

test('pods are held back until it is known which Nodes are cordoned, for ten seconds, and no longer', async () => {
  model.put('nodes', node('a', { unschedulable: true }));
  model.put('pods', pod({ node: 'a' }));
  model.refuse = (collection) => (collection === 'nodes' ? { status: 503 } : null);
  start();
  await after(9_000);
  expect(published).toBeNull();
  await after(2 * SOON_MS);
  expect(published?.nodes.map(({ standing }) => standing)).toEqual(['in']);
  model.refuse = () => null;
  await after(60_000);
  expect(published?.nodes.map(({ standing }) => standing)).toEqual(['cordoned']);
});

test('without permission to list Nodes, pods are not held back', async () => {
  model.put('pods', pod({ node: 'a' }));
  model.refuse = (collection) => (collection === 'nodes' ? { status: 403 } : null);
  start();
  await after(SOON_MS);
  expect(names()).toEqual(['a']);
});
