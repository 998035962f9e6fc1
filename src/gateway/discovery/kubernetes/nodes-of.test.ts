import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { KubeObject } from '../testing/kube-model.ts';
import { node, pod } from '../testing/objects.ts';
import { awaitsSome, nodesOf } from './nodes-of.ts';
import { readNode, readPod, type AgentPod, type KubeNode } from './objects.ts';

const OPTIONS = { port: 8701, family: 'auto', ignoreTaints: [] } as const;

const pods = (...objects: KubeObject[]): AgentPod[] =>
  objects.map((object, i) => ({
    ...(readPod({ ...object, metadata: { uid: `uid-${i}`, ...object.metadata } }) as AgentPod),
  }));
const nodes = (...objects: KubeObject[]): KubeNode[] => objects.map((object) => readNode(object) as KubeNode);
const standing = (of: KubeObject, onto: KubeObject | null, more: object = {}): unknown =>
  nodesOf(pods(of), onto === null ? null : nodes(onto), { ...OPTIONS, ...more })[0]?.standing;

describe('the identity and address of a node', () => {
  test('it is identified by its Node, and dialled at its pod', () => {
    expect(nodesOf(pods(pod({ node: 'a', ip: '10.1.2.3' })), null, OPTIONS)).toEqual([
      { id: 'kubernetes:a', name: 'a', url: 'ws://10.1.2.3:8701', standing: 'in', reason: null },
    ]);
  });

  test('of two address families, the requested one is used', () => {
    const both = pods(pod({ node: 'a', ips: ['fd00::7', '10.0.0.7'] }));
    const url = (family: 'auto' | '4' | '6'): unknown => nodesOf(both, null, { ...OPTIONS, family })[0]?.url;
    expect([url('auto'), url('4'), url('6')]).toEqual([
      'ws://10.0.0.7:8701',
      'ws://10.0.0.7:8701',
      'ws://[fd00::7]:8701',
    ]);
    const six = pods(pod({ node: 'a', ip: 'fd00::7' }));
    expect(nodesOf(six, null, OPTIONS)[0]?.url).toBe('ws://[fd00::7]:8701');
    expect(nodesOf(six, null, { ...OPTIONS, family: '4' })).toEqual([]);
  });

  test('a pod that has no Node or no address, or has ended, is no node', () => {
    const none = pods(
      pod({ node: null }),
      pod({ node: 'a', ip: null, phase: 'Pending' }),
      pod({ node: 'b', phase: 'Failed' }),
      pod({ node: 'c', ip: 'not an address' }),
    );
    expect(nodesOf(none, null, OPTIONS)).toEqual([]);
  });

  test('while a pod is replaced, the old one serves until it is no longer ready or the new one is', () => {
    const old = pod({ name: 'old', node: 'a', ip: '10.0.0.1', deleting: true });
    const next = { name: 'next', node: 'a', ip: '10.0.0.2', createdAt: '2026-02-01T00:00:00Z' };
    const url = (...all: KubeObject[]): unknown => nodesOf(pods(...all), null, OPTIONS)[0]?.url;
    expect(url(old, pod({ ...next, ready: false }))).toBe('ws://10.0.0.1:8701');
    expect(url(old, pod(next))).toBe('ws://10.0.0.2:8701');
    const stopped = pod({ name: 'old', node: 'a', ip: '10.0.0.1', deleting: true, ready: false });
    expect(url(stopped, pod({ ...next, ready: false }))).toBe('ws://10.0.0.2:8701');
  });
});

describe('whether a node takes sandboxes', () => {
  const agent = pod({ node: 'a' });

  test('not while its Node is cordoned, being deleted or unknown', () => {
    expect(standing(agent, node('a'))).toBe('in');
    expect(standing(agent, node('a', { unschedulable: true }))).toBe('cordoned');
    expect(standing(agent, node('a', { deleting: true }))).toBe('cordoned');
    expect(standing(agent, node('b'))).toBe('cordoned');
  });

  test("not while its containers are not ready; the control plane's view of the pod does not count", () => {
    expect(standing(pod({ node: 'a', ready: false }), node('a'))).toBe('cordoned');
    const unheard = pod({ node: 'a' });
    unheard['status'] = { ...(unheard['status'] as object), conditions: [{ type: 'Ready', status: 'False' }] };
    expect(standing(unheard, node('a'))).toBe('in');
  });

  test('a pod that is being deleted is leaving', () => {
    expect(standing(pod({ node: 'a', deleting: true }), node('a', { unschedulable: true }))).toBe('leaving');
  });

  test('without permission to read Nodes, only the pods count', () => {
    expect(standing(agent, null)).toBe('in');
    expect(standing(pod({ node: 'a', ready: false }), null)).toBe('cordoned');
    expect(standing(pod({ node: 'a', deleting: true }), null)).toBe('leaving');
  });
});

describe('taints', () => {
  const tainted = (key: string, effect = 'NoSchedule', value?: string): KubeObject =>
    node('a', { taints: [{ key, effect, ...(value === undefined ? {} : { value }) }] });
  const tolerant = (toleration: object): KubeObject => pod({ node: 'a', tolerations: [toleration] });
  const plain = pod({ node: 'a' });

  test('one that keeps pods away keeps sandboxes away; one that merely prefers to does not', () => {
    expect(standing(plain, tainted('team'))).toBe('cordoned');
    expect(standing(plain, tainted('team', 'NoExecute'))).toBe('cordoned');
    expect(standing(plain, tainted('team', 'PreferNoSchedule'))).toBe('in');
  });

  test('one that the agent tolerates by its key has no effect', () => {
    const dedicated = tainted('dedicated', 'NoSchedule', 'sandboxes');
    expect(standing(tolerant({ key: 'dedicated', operator: 'Exists' }), dedicated)).toBe('in');
    expect(standing(tolerant({ key: 'dedicated', value: 'sandboxes', effect: 'NoSchedule' }), dedicated)).toBe('in');
    expect(standing(tolerant({ key: 'dedicated', value: 'other' }), dedicated)).toBe('cordoned');
    expect(standing(tolerant({ key: 'dedicated', operator: 'Exists', effect: 'NoExecute' }), dedicated)).toBe(
      'cordoned',
    );
  });

  test('that an agent tolerates everything admits no new sandboxes, unless the operator says so', () => {
    const all = tolerant({ operator: 'Exists' });
    expect(standing(all, tainted('maintenance'))).toBe('cordoned');
    expect(standing(all, tainted('maintenance'), { ignoreTaints: ['maintenance'] })).toBe('in');
  });

  test('pressure and removal count although a DaemonSet tolerates them', () => {
    for (const key of [
      'node.kubernetes.io/disk-pressure',
      'ToBeDeletedByClusterAutoscaler',
      'karpenter.sh/disrupted',
    ]) {
      expect(standing(tolerant({ key, operator: 'Exists' }), tainted(key))).toBe('cordoned');
    }
  });

  test('that the control plane cannot reach a kubelet proves nothing about the agent', () => {
    for (const key of ['node.kubernetes.io/unreachable', 'node.kubernetes.io/not-ready']) {
      expect(standing(plain, tainted(key, 'NoExecute'))).toBe('in');
    }
  });
});

test('a pod that has yet to start is awaited, unless another runs on its Node, it is leaving or it has ended', () => {
  const starting = { name: 'new', ip: null, phase: 'Pending', ready: false };
  expect(awaitsSome(pods(pod({ node: 'a' }), pod({ ...starting, node: 'b' })))).toBe(true);
  expect(awaitsSome(pods(pod({ ...starting, node: null })))).toBe(true);
  expect(awaitsSome(pods(pod({ node: 'a' }), pod({ ...starting, node: 'a' })))).toBe(false);
  expect(awaitsSome(pods(pod({ ...starting, node: 'b', deleting: true })))).toBe(false);
  expect(awaitsSome(pods(pod({ ...starting, node: 'b', phase: 'Failed' })))).toBe(false);
});

test('objects of any shape are read or rejected, and never cause an exception', () => {
  fc.assert(
    fc.property(fc.anything(), (object) => {
      for (const read of [readPod, readNode]) expect(() => read(object)).not.toThrow();
    }),
  );
  expect(readPod(null)).toBeNull();
  expect(readPod({ metadata: { name: 'a', uid: 'u' }, spec: {} })).toMatchObject({
    nodeName: '',
    addresses: [],
    ready: false,
  });
});

test('at most one node per Node, whatever pods there are, and independent of their order', () => {
  const anyPod = fc.record({
    name: fc.constantFrom('p', 'q', 'r', 's'),
    node: fc.constantFrom('a', 'b', null),
    ip: fc.constantFrom('10.0.0.1', '10.0.0.2', 'fd00::1', null),
    ready: fc.boolean(),
    deleting: fc.boolean(),
    phase: fc.constantFrom('Running', 'Pending', 'Failed'),
    createdAt: fc.constantFrom('2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'),
  });
  fc.assert(
    fc.property(fc.array(anyPod, { maxLength: 8 }), (facts) => {
      const all = pods(...facts.map((each) => pod(each)));
      const found = nodesOf(all, null, OPTIONS);
      expect(new Set(found.map(({ id }) => id)).size).toBe(found.length);
      const byId = (list: typeof found): typeof found => list.sort((x, y) => (x.id ?? '').localeCompare(y.id ?? ''));
      expect(byId(nodesOf([...all].reverse(), null, OPTIONS))).toEqual(byId(found));
    }),
  );
});
