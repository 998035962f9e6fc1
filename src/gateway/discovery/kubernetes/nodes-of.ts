/** Derives the service's nodes from the pods and Nodes of a cluster. */
import { isIPv6 } from 'node:net';
import type { Standing } from '../../nodes/node.ts';
import type { Family } from '../config.ts';
import { nodeUrl, type DiscoveredNode } from '../discovery.ts';
import type { AgentPod, KubeNode, Taint, Toleration } from './objects.ts';

export interface NodesOfOptions {
  port: number;
  family: Family;
  ignoreTaints: readonly string[];
}

/**
 * Taints for a kubelet that the control plane cannot reach. Ignored: the gateway's own link to the agent knows better.
 */
const MEANINGLESS = new Set([
  'node.kubernetes.io/not-ready',
  'node.kubernetes.io/unreachable',
  'node.kubernetes.io/network-unavailable',
  'node.cloudprovider.kubernetes.io/uninitialized',
]);
/** DaemonSets tolerate some of these automatically, but such a Node should get no new sandboxes. */
const SERIOUS = new Set([
  'node.kubernetes.io/memory-pressure',
  'node.kubernetes.io/disk-pressure',
  'node.kubernetes.io/pid-pressure',
  'node.kubernetes.io/out-of-service',
  'node.cloudprovider.kubernetes.io/shutdown',
  'ToBeDeletedByClusterAutoscaler',
  'karpenter.sh/disrupted',
]);

/** @param nodes null: Nodes are not known, so only the pods count. */
export function nodesOf(
  pods: readonly AgentPod[],
  nodes: readonly KubeNode[] | null,
  options: NodesOfOptions,
): DiscoveredNode[] {
  const byName = nodes === null ? null : new Map(nodes.map((node) => [node.name, node]));
  const chosen = new Map<string, { pod: AgentPod; url: string }>();
  for (const pod of pods) {
    const address = addressOf(pod, options.family);
    if (pod.nodeName === '' || address === undefined) continue;
    const before = chosen.get(pod.nodeName)?.pod;
    if (before !== undefined && !isBetter(pod, before)) continue;
    chosen.set(pod.nodeName, { pod, url: nodeUrl(address, options.port) });
  }
  return Array.from(chosen, ([name, { pod, url }]) => {
    const [standing, reason] = standingOf(pod, byName === null ? null : byName.get(name), options.ignoreTaints);
    return { id: `kubernetes:${name}`, name, url, standing, reason };
  });
}

/**
 * Whether a pod has yet to start on a Node where no other runs. It may be the successor of one whose sandboxes live on
 * there without an agent.
 */
export function awaitsSome(pods: readonly AgentPod[]): boolean {
  const running = new Set(pods.filter(({ addresses }) => addresses.length > 0).map(({ nodeName }) => nodeName));
  return pods.some(({ pending, deleting, nodeName }) => pending && !deleting && !running.has(nodeName));
}

/** Picks one of two pods on a Node: during a replacement the old pod serves until the new one is ready. */
function isBetter(pod: AgentPod, other: AgentPod): boolean {
  if (pod.ready !== other.ready) return pod.ready;
  if (pod.deleting !== other.deleting) return other.deleting;
  if (pod.createdAtMs !== other.createdAtMs) return pod.createdAtMs > other.createdAtMs;
  return pod.uid > other.uid;
}

function addressOf({ addresses }: AgentPod, family: Family): string | undefined {
  const six = addresses.find((address) => isIPv6(address));
  const four = addresses.find((address) => !isIPv6(address));
  if (family === 'auto') return four ?? six;
  return family === '6' ? six : four;
}

/** @param node null: Nodes are not watched; undefined: there is none with this name. */
function standingOf(
  pod: AgentPod,
  node: KubeNode | null | undefined,
  ignore: readonly string[],
): [Standing, string | null] {
  if (pod.deleting) return ['leaving', `pod ${pod.name} is being deleted`];
  if (node === undefined) return ['cordoned', 'its Node is not there'];
  if (node !== null) {
    if (node.deleting) return ['cordoned', 'its Node is being deleted'];
    if (node.unschedulable) return ['cordoned', 'its Node is unschedulable'];
    const taint = node.taints.find((each) => counts(each, pod.tolerations, ignore));
    if (taint !== undefined) return ['cordoned', `its Node has the taint ${taint.key}`];
  }
  if (!pod.ready) return ['cordoned', `pod ${pod.name} is not ready`];
  return ['in', null];
}

function counts(taint: Taint, tolerations: readonly Toleration[], ignore: readonly string[]): boolean {
  if (MEANINGLESS.has(taint.key) || ignore.includes(taint.key)) return false;
  if (SERIOUS.has(taint.key)) return true;
  if (taint.effect !== 'NoSchedule' && taint.effect !== 'NoExecute') return false;
  return !tolerations.some((toleration) => toleratesByKey(toleration, taint));
}

/** An agent that tolerates every taint is meant to stay on the Node, but new sandboxes may still be unwanted there. */
function toleratesByKey({ key, operator, value, effect }: Toleration, taint: Taint): boolean {
  if (key !== taint.key || (effect !== '' && effect !== taint.effect)) return false;
  return operator === 'Exists' || value === taint.value;
}
